//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

var errDuplicate = errors.New("a message that nobody had before was called a duplicate")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// store returns a redisstore on s.
func (b *bench) store(s *server, o *redisstore.Options) (*redisstore.Store, error) {
	client, err := b.client(s, &redis.Options{ContextTimeoutEnabled: true})
	if err != nil {
		return nil, err
	}
	store, err := redisstore.New(b.ctx, client, o)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return store, nil
}

// deduper returns a Deduper that ends with the run.
func (b *bench) deduper(store claim.Store, o dedupe.Options) (*dedupe.Deduper, error) {
	o.Consumer, o.Logger = "bench", quiet()
	d, err := dedupe.New(store, &o)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	b.closers = append(b.closers, func() { _ = d.Close(context.Background()) })
	return d, nil
}

func nothing(context.Context) ([]byte, error) { return nil, nil }

// do is the whole pipeline around a handler that does nothing, one message a call.
func (b *bench) do(name string, s *server, d *dedupe.Deduper, callers int) *way {
	return &way{name: name, callers: callers, per: 1, server: s, timed: true,
		open: func(int) (func(uint64) error, error) {
			ctx := context.Background()
			return func(n uint64) error {
				result, err := d.Do(ctx, dedupe.ID(b.ids.at(n)), nothing)
				if result.Duplicate {
					return errDuplicate
				}
				return err
			}, nil
		}}
}

// batch is the whole pipeline around a handler that does nothing, a hundred
// messages a call.
func (b *bench) batch(name string, s *server, d *dedupe.Deduper) *way {
	return b.batchOf(name, s, d, func(n uint64) bus.Message { return bus.Message{ID: b.ids.at(n)} })
}

// placed is batch, of messages from one log.
func (b *bench) placed(name string, s *server, d *dedupe.Deduper) *way {
	return b.batchOf(name, s, d, func(n uint64) bus.Message {
		return bus.Message{Position: "bench:" + strconv.FormatUint(n, 10), Log: "bench", Sequence: n}
	})
}

// batchOf is batch, of the messages that message makes of their numbers.
func (b *bench) batchOf(name string, s *server, d *dedupe.Deduper, message func(n uint64) bus.Message) *way {
	return &way{name: name, callers: ceilingConns, per: batchSize, server: s, timed: true,
		open: func(int) (func(uint64) error, error) {
			ctx, ran := context.Background(), 0
			handler := d.WrapBatch(func(_ context.Context, batch []*bus.Message) []error {
				ran = len(batch)
				return make([]error, len(batch))
			})
			messages := make([]bus.Message, batchSize)
			batch := make([]*bus.Message, batchSize)
			for i := range batch {
				batch[i] = &messages[i]
			}
			return func(n uint64) error {
				for i := range messages {
					messages[i] = message(n + uint64(i))
				}
				for _, err := range handler(ctx, batch) {
					if err != nil {
						return err
					}
				}
				if ran != batchSize {
					return errDuplicate
				}
				return nil
			}, nil
		}}
}

// redisDo returns the way of do on the server that all parts share.
func (b *bench) redisDo(callers int) (*way, error) {
	d, err := b.redisDeduper()
	if err != nil {
		return nil, err
	}
	return b.do("Do", b.redis, d, callers), nil
}

// redisDeduper returns the Deduper on the server that all parts share.
func (b *bench) redisDeduper() (*dedupe.Deduper, error) {
	if b.once != nil {
		return b.once, nil
	}
	store, err := b.store(b.redis, nil)
	if err != nil {
		return nil, err
	}
	b.once, err = b.deduper(store, dedupe.Options{})
	return b.once, err
}

// memory returns a Deduper on a memstore that forgets what it handled soon, as
// one that runs for long does.
func (b *bench) memory() (*dedupe.Deduper, error) {
	store, err := b.forgetful()
	if err != nil {
		return nil, err
	}
	return b.deduper(store, dedupe.Options{Retention: shortest})
}

// shortest is the least Retention with the default Lease. A busy machine would
// outlive a shorter lease.
const shortest = time.Minute

// live is how many records a forgetful store has in the long run: not as many as
// would now and then fill one of its tables and make it grow.
const live = 150_000

// forgetful returns a memstore whose clock moves with the messages, so that
// always as many records end as come.
func (b *bench) forgetful() (*memstore.Store, error) {
	store, err := memstore.New(&memstore.Options{Now: func() time.Time {
		return time.Now().Add(time.Duration(b.ids.next.Load()) * (shortest / live))
	}})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return store, nil
}
