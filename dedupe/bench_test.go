package dedupe_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

func idOf(n int) string { return "018f3c1e-7b3a-7c3e-8f3a-" + strconv.Itoa(100_000_000_000+n) }

// newBenchmark returns a Deduper on a store from which records end as they come,
// since its clock is fast: it is the way of a message that is measured, and not
// memory that grows.
func newBenchmark(b *testing.B) *dedupe.Deduper {
	start := time.Now()
	store, err := memstore.New(&memstore.Options{MaxRecords: 1 << 30, MaxBytes: 64 << 30,
		Now: func() time.Time { return start.Add(1500 * time.Since(start)) }})
	if err != nil {
		b.Fatal(err)
	}
	return newDeduper(b, store, func(o *dedupe.Options) {
		*o = dedupe.Options{Consumer: "billing", Lease: 30 * time.Second, Retention: time.Minute, Logger: quiet}
	})
}

// cpu reports the CPU time of an operation, which a busy machine disturbs less
// than the time.
func cpu(b *testing.B) (report func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func noop(context.Context) ([]byte, error) { return nil, nil }

// BenchmarkDo is a message with a handler that does nothing, on memstore: claim,
// lease, run, commit.
func BenchmarkDo(b *testing.B) {
	d := newBenchmark(b)
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = idOf(i)
	}
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	defer cpu(b)()
	for _, id := range ids {
		if _, err := d.Do(ctx, dedupe.ID(id), noop); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDoParallel is BenchmarkDo by many callers.
func BenchmarkDoParallel(b *testing.B) {
	d := newBenchmark(b)
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = idOf(i)
	}
	var next atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	b.SetParallelism(64)
	b.ResetTimer()
	defer cpu(b)()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := d.Do(ctx, dedupe.ID(ids[next.Add(1)-1]), noop); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDuplicate is a message that finished here within the last minute.
func BenchmarkDuplicate(b *testing.B) {
	d := newDeduper(b, newMemstore(b), func(o *dedupe.Options) { o.Lease = time.Minute })
	ctx := context.Background()
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = idOf(i)
		if _, err := d.Do(ctx, dedupe.ID(ids[i]), noop); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	defer cpu(b)()
	for i := range b.N {
		if r, err := d.Do(ctx, dedupe.ID(ids[i%len(ids)]), noop); err != nil || !r.Duplicate {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkNewKey is the part of the others that hashes the id.
func BenchmarkNewKey(b *testing.B) {
	id := claim.MessageID(idOf(0))
	b.ReportAllocs()
	defer cpu(b)()
	for range b.N {
		if _, err := claim.NewKey("", "billing", id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBatch100 is a message in a batch of 100, with a handler that does
// nothing.
func BenchmarkBatch100(b *testing.B) {
	d := newBenchmark(b)
	h := d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error { return make([]error, len(ms)) })
	messages := make([]*bus.Message, b.N)
	for i := range messages {
		messages[i] = &bus.Message{ID: idOf(i)}
	}
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	defer cpu(b)()
	for ; len(messages) > 0; messages = messages[min(100, len(messages)):] {
		for _, err := range h(ctx, messages[:min(100, len(messages))]) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
