//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// beats counts the heartbeats that go to a store.
type beats struct {
	*redisstore.Store
	calls, claims atomic.Int64
}

// Apply implements claim.Batcher.
func (s *beats) Apply(ctx context.Context, ops []*claim.Op) {
	extended := int64(0)
	for _, op := range ops {
		if op.Kind == claim.OpExtend {
			extended++
		}
	}
	if extended > 0 {
		s.calls.Add(1)
		s.claims.Add(extended)
	}
	s.Store.Apply(ctx, ops)
}

// Extend implements claim.Store.
func (s *beats) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	s.calls.Add(1)
	s.claims.Add(1)
	return s.Store.Extend(ctx, key, g, ttl)
}

// heartbeats measures what it costs to keep ten thousand claims, by leases that
// are shorter than the default and so cost more.
func (b *bench) heartbeats() error {
	claims, lease, watch := 10_000, 6*time.Second, 12*time.Second
	if b.set.short {
		claims, lease, watch = 1_000, 3*time.Second, time.Second
	}
	if err := b.redis.flush(); err != nil {
		return err
	}
	inner, err := b.store(b.redis, nil)
	if err != nil {
		return err
	}
	store := &beats{Store: inner}
	d, err := b.deduper(store, dedupe.Options{Lease: lease, ClaimTimeout: lease / 2})
	if err != nil {
		return err
	}
	release := make(chan struct{})
	errs := make(chan error, claims)
	var live, running sync.WaitGroup
	live.Add(claims)
	for range claims {
		running.Go(func() {
			began := false
			_, err := d.Do(b.ctx, dedupe.ID(b.ids.at(b.ids.take(1))), func(ctx context.Context) ([]byte, error) {
				began = true
				live.Done()
				select {
				case <-release:
					return nil, nil
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			})
			if !began {
				live.Done()
			}
			errs <- err
		})
	}
	live.Wait()
	pause(b.ctx, lease/3) // from here on all of them are kept together
	calls, kept, cpu, begun := store.calls.Load(), store.claims.Load(), cpuTime(), time.Now()
	pause(b.ctx, watch)
	calls, kept, cpu = store.calls.Load()-calls, store.claims.Load()-kept, cpuTime()-cpu
	elapsed := time.Since(begun)
	close(release)
	running.Wait()
	for range claims {
		if err := <-errs; err != nil {
			return fmt.Errorf("bench: heartbeats: %w", err)
		}
	}
	how := fmt.Sprintf("%s claims with a lease of %v (by default 30 s), watched for %v", grouped(int64(claims)), lease, watch)
	b.found(beatCalls, 1000*float64(calls)/float64(kept), "%s: %d calls of the store extended %s leases", how, calls, grouped(kept))
	b.found(beatCPU, 100*cpu.Seconds()/elapsed.Seconds(), "%s: processor time of the client", how)
	return nil
}
