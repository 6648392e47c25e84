//go:build linux

package main

import (
	"strings"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/dedupe"
)

// layout is what one remembered id takes in a server's memory.
type layout struct {
	Name  string  `json:"name"`
	Bytes float64 `json:"bytes"`
	IDs   int     `json:"ids"`
	Once  bool    `json:"once"`
}

// manyIDs fill the tables of a server to 95 %, where an id is cheapest; a
// fourth and a sixteenth of them do so too.
const manyIDs = 1_000_000

// bytes measures what ids take in a server that has nothing else.
func (b *bench) bytes() error {
	ids := manyIDs / b.set.shrink
	plain, err := b.perID("Once, plain records", true, ids, func(s *server) (*way, error) {
		store, err := b.store(s, nil)
		if err != nil {
			return nil, err
		}
		d, err := b.deduper(store, dedupe.Options{})
		return b.batch("WrapBatch", s, d), err
	})
	if err != nil {
		return err
	}
	b.found(plainBytes, plain, "used_memory of a server of its own, by %s ids handled in batches", grouped(int64(ids)))
	if err := b.packedBytes(ids); err != nil {
		return err
	}
	position, err := b.perID("Once, positions", true, ids, func(s *server) (*way, error) {
		store, err := b.store(s, &redisstore.Options{Positions: &redisstore.PositionOptions{}})
		if err != nil {
			return nil, err
		}
		d, err := b.deduper(store, dedupe.Options{Key: dedupe.ByPosition})
		return b.placed("WrapBatch", s, d), err
	})
	if err != nil {
		return err
	}
	b.found(positionBytes, position, "used_memory of a server of its own, by %s messages of one log handled in batches", grouped(int64(ids)))
	_, err = b.perID("a response of 200 bytes under prefix and id", false, ids/4, func(s *server) (*way, error) {
		return b.responses(s)
	})
	return err
}

// packedBytes measures the packed layout: full hashes of one generation, and what
// is there while generations come and go.
func (b *bench) packedBytes(ids int) error {
	// A generation has half of what is expected in a retention.
	o := &redisstore.Options{Packed: &redisstore.PackedOptions{ExpectedIDs: 2 * ids}}
	full, err := b.perID("Once, packed, one generation", true, ids, func(s *server) (*way, error) {
		store, err := b.store(s, o)
		if err != nil {
			return nil, err
		}
		d, err := b.deduper(store, dedupe.Options{})
		return b.batch("WrapBatch", s, d), err
	})
	if err != nil {
		return err
	}
	b.found(packedBytes, full, "used_memory of a server of its own, by %s ids handled in batches, which are half of ExpectedIDs", grouped(int64(ids)))

	retention, inEach := 12*time.Second, 300_000
	if b.set.short {
		retention, inEach = 2*time.Second, 10_000
	}
	o = &redisstore.Options{Packed: &redisstore.PackedOptions{ExpectedIDs: inEach, Retention: retention}}
	steady, err := b.steady(o, inEach, retention)
	if err != nil {
		return err
	}
	b.report.Layouts = append(b.report.Layouts, layout{"Once, packed, steady state", significant(steady), inEach, true})
	b.found(steadyBytes, steady, "the same, on average over a retention of %v in which %s ids come and as many go", retention, grouped(int64(inEach)))
	return nil
}

// perID returns the bytes that an id takes which was handled the way that open
// returns, on a server of its own.
func (b *bench) perID(name string, once bool, ids int, open func(s *server) (*way, error)) (float64, error) {
	s, err := b.start()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	w, err := open(s)
	if err != nil {
		return 0, err
	}
	if err := b.fill(w, w.per*w.callers); err != nil { // connections and scripts take memory too
		return 0, err
	}
	before, err := b.quietMemory(s)
	if err != nil {
		return 0, err
	}
	if err := b.fill(w, ids); err != nil {
		return 0, err
	}
	after, err := b.quietMemory(s)
	if err != nil {
		return 0, err
	}
	perID := float64(after-before) / float64(ids)
	b.progress("bytes: %s: %.1f an id, by %d", name, perID, ids)
	b.report.Layouts = append(b.report.Layouts, layout{name, significant(perID), ids, once})
	return perID, nil
}

// quietMemory is the memory of s without the buffers of connections, which it
// gives back when they are idle for two seconds: as much as a million positions.
func (b *bench) quietMemory(s *server) (int64, error) {
	if !b.set.short {
		pause(b.ctx, 4*time.Second)
	}
	return s.memory()
}

// responses keeps what a middleware for HTTP keeps.
func (b *bench) responses(s *server) (*way, error) {
	client, err := dialRaw(s.Addr)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() { _ = client.conn.Close() })
	response := strings.Repeat("r", 200)
	return &way{name: "responses", callers: 1, per: batchSize, server: s,
		open: func(int) (func(uint64) error, error) {
			return func(n uint64) error {
				for i := range uint64(batchSize) {
					client.set("idempotency:", b.ids.at(n+i), response, retentionMS)
				}
				return client.flush()
			}, nil
		}}, nil
}
