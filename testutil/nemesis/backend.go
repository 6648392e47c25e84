//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oncebus/once/claim"
)

// Backend is where the records of a trial are kept, and how.
type Backend string

// The backends.
const (
	// RedisClaims is a redisstore.Store.
	RedisClaims Backend = ""
	// NATSClaims is a natsstore.Store on a server beside that of the bus.
	NATSClaims Backend = "NATS KV"
	// PostgresInbox is a sqlstore.Inbox on pgx. The effect of an order is a row in
	// the same database.
	PostgresInbox Backend = "PostgreSQL inbox"
)

// startBackend starts the server, and makes in it what workers look for.
func (w *World) startBackend(ctx context.Context) (err error) {
	dir := filepath.Join(w.Dir, "store")
	switch w.Trial.Backend {
	case NATSClaims:
		if w.KV, err = StartBus(dir); err != nil {
			return err
		}
		return makeBucket(ctx, w.KV.URL())
	case PostgresInbox:
		if w.Postgres, err = StartPostgres(); err != nil {
			return err
		}
		return makeTables(ctx, w.Postgres.Addr)
	}
	return w.startRedis(dir)
}

// KillBackend kills the server that has the records with SIGKILL, and returns what
// starts it again with the same files.
func (w *World) KillBackend() (restart func() error) {
	switch w.Trial.Backend {
	case NATSClaims:
		w.KV.Kill()
		return w.KV.Restart
	case PostgresInbox:
		w.Postgres.Kill()
		return w.Postgres.Restart
	}
	w.Store.Kill()
	return w.Store.Restart
}

// backendAddr is where the server listens.
func (w *World) backendAddr() string {
	switch w.Trial.Backend {
	case NATSClaims:
		return w.KV.Addr
	case PostgresInbox:
		return w.Postgres.Addr
	}
	return w.Store.Addr
}

// memory is the trial's own way to what a backend remembers.
type memory interface {
	claim.Inspector
	// endless returns the names of records that have no end.
	endless(ctx context.Context) ([]string, error)
	close()
}

// memory connects to the backend.
func (w *World) memory(ctx context.Context) (m memory, err error) {
	switch w.Trial.Backend {
	case NATSClaims:
		m, err = rememberNATS(ctx, w.KV.URL())
	case PostgresInbox:
		m, err = rememberPostgres(ctx, w.Postgres.Addr)
	default:
		m, err = rememberRedis(ctx, w.operator(), w.Trial.Worker.Prefix)
	}
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	return m, nil
}
