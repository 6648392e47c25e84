//go:build linux

package main

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
)

// flat looks whether a process grows with the messages it has handled, and whether
// a Deduper leaves goroutines behind.
func (b *bench) flat() error {
	first, all := 1_000_000/b.set.shrink, 10_000_000/b.set.shrink
	before := runtime.NumGoroutine()
	// By a clock that moves with the messages there are always as many records.
	const perMessage = 10 * time.Microsecond
	begun, handled := time.Now(), atomic.Int64{}
	store, err := memstore.New(&memstore.Options{Now: func() time.Time { return begun.Add(time.Duration(handled.Load()) * perMessage) }})
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "bench", Logger: quiet(), Lease: soon, ClaimTimeout: soon * 4 / 5, Retention: 2 * soon})
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	w := b.quick(b.do("memstore Do", nil, d, ceilingConns), batchSize)
	handle := w.open
	w.open = func(caller int) (func(uint64) error, error) {
		f, err := handle(caller)
		return func(n uint64) error {
			handled.Add(batchSize)
			return f(n)
		}, err
	}
	if err := b.fill(w, first); err != nil {
		return err
	}
	early := heap()
	if err := b.fill(w, all-first); err != nil {
		return err
	}
	late := heap()
	if err := d.Close(b.ctx); err != nil {
		return fmt.Errorf("bench: flat: %w", err)
	}
	left := leftAfter(b.ctx, before)
	b.found(flatHeap, (late-early)/(1<<20), "memstore with %s live records, four callers, after a collection each; %.1f MiB at the end", grouped((2 * soon).Microseconds()), late/(1<<20))
	b.found(flatRoutines, float64(left), "above those before New")
	return nil
}

// heap returns the bytes that are in use after a collection.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// leftAfter returns how many goroutines there are above before, when those that
// are on their way out have gone.
func leftAfter(ctx context.Context, before int) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for ctx.Err() == nil && runtime.NumGoroutine() > before {
		pause(ctx, time.Millisecond)
	}
	return max(0, runtime.NumGoroutine()-before)
}
