package memstore_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/testutil/claimtest"
)

// Expiring measures a store in steady state, from which records end as they
// come; Growing one that keeps all of them.
func BenchmarkStore(b *testing.B) {
	for name, unit := range map[string]time.Duration{"Expiring": time.Millisecond, "Growing": time.Minute} {
		b.Run(name, func(b *testing.B) {
			claimtest.Benchmark(b, func(t testing.TB) *claimtest.Harness {
				store := mustNew(t, &memstore.Options{MaxRecords: 1 << 26, MaxBytes: 16 << 30})
				return &claimtest.Harness{Store: store, Unit: unit}
			})
		})
	}
}
