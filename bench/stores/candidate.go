//go:build linux

package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/backends/natsstore"
	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/natstest"
	"github.com/oncebus/once/testutil/nemesis"
)

// candidate is a store as its users run it.
type candidate struct {
	name string
	// survives says what keeps an acknowledged completion.
	survives string
	open     func(b *bench) (*opened, error)
	// variant is another one with the same bytes and the same clean-up.
	variant bool
}

// opened is a new, empty store.
type opened struct {
	store store
	// size returns the bytes that the records take, and those of indexes among them
	// where they can be told apart.
	size func() (bytes, indexes int64, err error)
	// cleaner deletes what is over until its context ends; nil: records end by
	// themselves.
	cleaner func(ctx context.Context) error
	// left deletes all that is over now and returns how much it was; nil without a
	// cleaner.
	left func(ctx context.Context) (int, error)
	sql  *table // nil: not SQL
	// fast is how much faster than others' the store's clock is; 0 is 1.
	fast  time.Duration
	close func()
}

type store interface {
	claim.Store
	claim.Batcher
}

var candidates = []candidate{
	{"Redis", "nothing: memory alone", func(b *bench) (*opened, error) { return b.openRedis(nil) }, false},
	{"Redis, packed", "nothing: memory alone", func(b *bench) (*opened, error) {
		return b.openRedis(&redisstore.Options{Packed: &redisstore.PackedOptions{ExpectedIDs: 2 * slices.Max(b.set.ids)}})
	}, false},
	{"Redis, appendfsync always", "a crash of the machine", func(b *bench) (*opened, error) {
		return b.openRedis(nil, "--appendonly", "yes", "--appendfsync", "always")
	}, true},
	{"memory", "nothing; one process", (*bench).openMemory, false},
	{"PostgreSQL", "a crash of the machine", func(b *bench) (*opened, error) { return b.openPostgres("on") }, false},
	{"PostgreSQL, synchronous_commit off", "a crash of the server's process", func(b *bench) (*opened, error) { return b.openPostgres("off") }, true},
	{"MariaDB", "a crash of the machine", func(b *bench) (*opened, error) { return b.openMariaDB(1) }, false},
	{"MariaDB, flush_log_at_trx_commit 2", "a crash of the server's process", func(b *bench) (*opened, error) { return b.openMariaDB(2) }, true},
	{"SQLite, synchronous FULL", "a crash of the machine", func(b *bench) (*opened, error) { return b.openSQLite("FULL") }, true},
	{"SQLite", "a crash of the process", func(b *bench) (*opened, error) { return b.openSQLite("NORMAL") }, false},
	{"NATS", "a crash of the server's process", (*bench).openNATS, false},
	{"Pebble", "a crash of the machine; one process", func(b *bench) (*opened, error) { return b.openPebble(pebblestore.SyncAll) }, false},
	{"Pebble, SyncEnds", "a crash of the machine, claims excepted; one process", func(b *bench) (*opened, error) { return b.openPebble(pebblestore.SyncEnds) }, true},
	{"Pebble, SyncNone", "nothing that is certain; one process", func(b *bench) (*opened, error) { return b.openPebble(pebblestore.SyncNone) }, true},
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// directory makes one that is the candidate's own.
func (b *bench) directory() (string, error) {
	b.directories++
	dir := filepath.Join(b.dir, strconv.Itoa(b.directories))
	return dir, os.Mkdir(dir, 0o755)
}

func (b *bench) openRedis(o *redisstore.Options, args ...string) (*opened, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	server, err := nemesis.StartRedis(dir, nil, args...)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	stop := func() {
		_ = client.Close()
		server.Close()
	}
	s, err := redisstore.New(b.ctx, client, o)
	if err != nil {
		stop()
		return nil, err
	}
	return &opened{store: s, close: stop, size: func() (int64, int64, error) {
		n, err := usedMemory(client)
		return n, 0, err
	}}, nil
}

// usedMemory returns the bytes that the server has allocated.
func usedMemory(client *redis.Client) (int64, error) {
	info, err := client.Info(context.Background(), "memory").Result()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	number, _, _ := strings.Cut(rest, "\r\n")
	return strconv.ParseInt(number, 10, 64)
}

func (b *bench) openMemory() (*opened, error) {
	s, err := memstore.New(&memstore.Options{MaxRecords: 50_000_000, MaxBytes: 16 << 30})
	if err != nil {
		return nil, err
	}
	return &opened{store: s, close: func() {}, size: func() (int64, int64, error) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(s)
		return int64(m.HeapAlloc), 0, nil
	}}, nil
}

func (b *bench) openNATS() (*opened, error) {
	server, stop, err := natstest.Start()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		stop()
		return nil, err
	}
	done := func() {
		nc.Close()
		stop()
	}
	js, err := jetstream.New(nc)
	if err != nil {
		done()
		return nil, err
	}
	stream, err := js.CreateStream(b.ctx, natsstore.StreamConfig("claims"))
	if err != nil {
		done()
		return nil, err
	}
	s, err := natsstore.New(b.ctx, js, "claims", &natsstore.Options{Logger: quiet(), Timeout: time.Minute})
	if err != nil {
		done()
		return nil, err
	}
	return &opened{store: s, close: done, size: func() (int64, int64, error) {
		info, err := stream.Info(b.ctx)
		if err != nil {
			return 0, 0, err
		}
		return int64(info.State.Bytes), 0, nil
	}}, nil
}

// pebbleFast makes a minute of Pebble, its shortest generation, a second.
const pebbleFast = 60

func (b *bench) openPebble(sync pebblestore.Sync) (*opened, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	o := &pebblestore.Options{Sync: sync, Logger: quiet()}
	var fast time.Duration
	if b.ending { // generations end while it is measured
		begun := time.Now()
		o.Span, fast = time.Minute, pebbleFast
		o.Now = func() time.Time { return begun.Add(pebbleFast * time.Since(begun)) }
	}
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return &opened{store: s, fast: fast, close: func() { _ = s.Close() }, size: func() (int64, int64, error) {
		n, err := filesIn(dir)
		return n, 0, err
	}}, nil
}

// filesIn returns the bytes of the files in a directory.
func filesIn(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) { // it went meanwhile
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("stores: %w", err)
	}
	return n, nil
}
