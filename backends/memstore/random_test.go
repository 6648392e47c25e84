package memstore_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/sequences"
)

func TestRandomSequences(t *testing.T) {
	for name, shards := range map[string]int{"default": 0, "one shard": 1} {
		t.Run(name, func(t *testing.T) {
			sequences.Run(t, func(t testing.TB) *claimtest.Harness {
				clock := newFakeClock()
				store := mustNew(t, &memstore.Options{Now: clock.Now, Shards: shards})
				return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second}
			})
		})
	}
}
