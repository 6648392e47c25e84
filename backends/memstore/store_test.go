package memstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/testutil/claimtest"
)

// fakeClock stands still unless it is told to move.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 3, 14, 15, 9, 26, 535_897_932, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func mustNew(t testing.TB, opts *memstore.Options) *memstore.Store {
	t.Helper()
	s, err := memstore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for name, shards := range map[string]int{"default": 0, "one shard": 1, "odd shards": 7} {
		t.Run(name, func(t *testing.T) {
			claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
				clock := newFakeClock()
				store := mustNew(t, &memstore.Options{Now: clock.Now, Shards: shards})
				return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second}
			})
		})
	}
}
