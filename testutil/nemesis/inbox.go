//go:build linux

package nemesis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/backends/sqlstore/pgxstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// inbox handles each order in a transaction of PostgreSQL.
func (w *worker) inbox(ctx context.Context) (bus.Handler, finish, error) {
	config, err := pgxpool.ParseConfig(postgresURL(w.Stores[0]))
	if err != nil {
		return nil, nil, err
	}
	config.MaxConns = int32(w.Handlers + 2)
	config.ConnConfig.DialFunc = w.traps.dialer
	config.ConnConfig.ConnectTimeout = w.Lease / 2
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	handler, err := w.inTransaction(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return handler, func(_ context.Context, err error) (dedupe.Stats, error) {
		pool.Close()
		return dedupe.Stats{}, err
	}, nil
}

func (w *worker) inTransaction(ctx context.Context, pool *pgxpool.Pool) (bus.Handler, error) {
	store, err := persistently(ctx, func() (*sqlstore.Store, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return pgxstore.New(ctx, pool, nil)
	})
	if err != nil {
		return nil, err
	}
	inbox, err := pgxstore.NewInbox(store, pool, &sqlstore.InboxOptions{Retention: w.Retention, CommitTimeout: 5 * w.Lease})
	if err != nil {
		return nil, err
	}
	handler, err := dedupe.InTransaction(inbox, &dedupe.InboxOptions{
		Consumer: w.Durable, Key: dedupe.ByHeader(HeaderOrder),
		Backoff: bus.Exponential(10*time.Millisecond, 200*time.Millisecond), Busy: 50 * time.Millisecond,
	}, func(ctx context.Context, tx pgx.Tx, _ *bus.Message) error { return w.transact(ctx, tx, pool) })
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, m *bus.Message) error {
		order := ctx.Value(visitKey{}).(*visit).order
		w.hook(P0, order)
		if t := w.claimTrap(order); t != nil {
			w.traps.arm(t)
			defer w.traps.disarm(t)
		}
		return handler(ctx, m)
	}, nil
}

// claimTrap returns the trap of an order that strikes while its transaction claims
// it, or nil.
func (w *worker) claimTrap(order string) *trap {
	point := w.Plan.At(orderOf(order))
	key, err := claim.NewKey("", w.Durable, claim.MessageID(order))
	digest := key.Digest()
	switch {
	case err != nil:
	case point == P1: // the lock, whose number is the beginning of the digest
		return &trap{match: digest[:8], point: point, order: order}
	case point == P2: // the record is read, and then written
		return &trap{match: []byte(hex.EncodeToString(digest[:])), spare: 1, point: point, order: order}
	}
	return nil
}

// transact is the handler.
func (w *worker) transact(ctx context.Context, tx pgx.Tx, pool *pgxpool.Pool) error {
	v := ctx.Value(visitKey{}).(*visit)
	v.tries++
	line := Line{Order: v.order, Run: v.run, Attempt: v.tries}
	say := func(kind, note string) {
		line.Kind, line.Note = kind, note
		w.write(line)
	}
	wire := tx.Conn().PgConn().Conn()
	at := func(p Point) {
		if c, ok := wire.(*conn); ok && w.hook(p, v.order) == Reset {
			_ = c.reset()
		}
	}
	at(P3)
	say(lineStart, "")
	note := "failed"
	defer func() { say(lineEnd, note) }()
	at(P4)
	var row executor = tx
	if w.Mode == ModeApart {
		row = pool
	}
	if _, err := row.Exec(ctx, "INSERT INTO effects (of_order) VALUES ($1)", v.order); err != nil {
		return err
	}
	at(P5)
	note = "ok"
	if point := w.Plan.At(orderOf(v.order)); point == AtCommit || point == P6 {
		w.traps.arm(&trap{match: []byte("commit"), on: wire, point: point, order: v.order})
	}
	return nil
}

// executor is a transaction, or a pool.
type executor interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
}

// makeTables makes the tables of the inbox, and that of the effects. An order may
// have several rows in it: that it has one is what is to be shown.
func makeTables(ctx context.Context, addr string) error {
	pool, err := pgxpool.New(ctx, postgresURL(addr))
	if err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, "CREATE TABLE effects (of_order text NOT NULL)")
	return errors.Join(err, pgxstore.Migrate(ctx, pool, nil))
}

type postgresMemory struct {
	claim.Inspector
	pool *pgxpool.Pool
}

func rememberPostgres(ctx context.Context, addr string) (memory, error) {
	pool, err := pgxpool.New(ctx, postgresURL(addr))
	if err != nil {
		return nil, err
	}
	store, err := pgxstore.New(ctx, pool, nil)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &postgresMemory{store, pool}, nil
}

func (m *postgresMemory) close() { m.pool.Close() }

func (m *postgresMemory) endless(ctx context.Context) (names []string, err error) {
	rows, err := m.pool.Query(ctx, "SELECT encode(digest, 'hex') FROM once_claims WHERE expires IS NULL OR expires <= 0")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// judgeRows counts the effects of orders in the inbox's database. Nothing excuses
// a second one (I10).
func (w *World) judgeRows(ctx context.Context, r *Result) error {
	conn, err := pgx.Connect(ctx, postgresURL(w.Postgres.Addr))
	if err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT of_order, count(*) FROM effects GROUP BY of_order")
	if err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	right := w.Trial.Worker.Mode == ModeOnce
	if right {
		r.checked("I10")
	}
	var order string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&order, &n}, func() error {
		r.effects[order] = n
		r.Effects += n
		if n == 1 {
			return nil
		}
		why := "record and effect in two transactions"
		if right {
			why = "none"
			r.Unexplained += n - 1
			r.fail("I10: %s has %d effects in the database of its inbox", order, n)
		}
		r.Seconds[why] += n - 1
		return nil
	})
	if err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	return nil
}
