//go:build linux

package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/oncebus/once/dedupe"
)

// flat looks whether a process grows with the messages it has handled, and whether
// a Deduper leaves goroutines behind.
func (b *bench) flat() error {
	first, all := 1_000_000/b.set.shrink, 10_000_000/b.set.shrink
	before := runtime.NumGoroutine()
	store, err := b.forgetful()
	if err != nil {
		return err
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "bench", Logger: quiet(), Retention: shortest})
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	w := b.quick(b.do("memstore Do", nil, d, ceilingConns), batchSize)
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
	b.found(flatHeap, (late-early)/(1<<20), "memstore with %s live records, four callers, after a collection each; %.1f MiB at the end", grouped(live), late/(1<<20))
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
