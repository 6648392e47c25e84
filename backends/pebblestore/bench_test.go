package pebblestore_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

var policies = map[string]pebblestore.Sync{"SyncAll": pebblestore.SyncAll, "SyncEnds": pebblestore.SyncEnds, "SyncNone": pebblestore.SyncNone}

// Run with -cpu 64 for 64 callers.
func BenchmarkContract(b *testing.B) {
	for name, policy := range policies {
		b.Run(name, func(b *testing.B) {
			claimtest.Benchmark(b, func(t testing.TB) *claimtest.Harness {
				return &claimtest.Harness{Store: onDisk(t, policy), Unit: time.Minute}
			})
		})
	}
}

func onDisk(t testing.TB, policy pebblestore.Sync) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(t.TempDir(), &pebblestore.Options{Sync: policy, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkFill claims and finishes b.N ids in batches of 500 and reports what
// they take, on the disk and in memory, and what a claim and a duplicate of them
// then cost.
func BenchmarkFill(b *testing.B) {
	s := onDisk(b, pebblestore.SyncEnds)
	const size = 500
	request := newRequest()
	request.Retention = 24 * time.Hour
	done := claim.Completion{Retention: 24 * time.Hour}
	key := func(i int) claim.Key {
		k, err := claim.NewKey("", "bench", claim.MessageID(fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		return k
	}
	storage := make([]claim.Op, size)
	for from := 0; from < b.N; from += size {
		ops := make([]*claim.Op, min(size, b.N-from))
		for i := range ops {
			ops[i] = &storage[i]
			storage[i] = claim.Op{Kind: claim.OpTryClaim, Key: key(from + i), Request: request}
		}
		s.Apply(b.Context(), ops)
		for _, op := range ops {
			op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, done
		}
		s.Apply(b.Context(), ops)
		for _, op := range ops {
			if op.Err != nil {
				b.Fatal(op.Err)
			}
		}
	}
	b.StopTimer()
	bytes, err := s.Compact()
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	const probes = 10_000
	began := time.Now()
	for i := range probes {
		if v := outcome(b, s, key(i*max(1, b.N/probes)%b.N)); v.Outcome != claim.Done {
			b.Fatalf("%v, want done", v.Outcome)
		}
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/probes, "µs/duplicate")
	b.ReportMetric(float64(bytes)/float64(b.N), "disk-B/id")
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MB")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
