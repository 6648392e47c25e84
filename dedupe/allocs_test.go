//go:build !race

package dedupe_test

import (
	"context"
	"testing"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// allocations returns how many run costs once everything has grown. The collector
// may empty a pool on the way: the fewest of several rounds count.
func allocations(run func()) float64 {
	least := testing.AllocsPerRun(1000, run)
	for range 4 {
		least = min(least, testing.AllocsPerRun(100, run))
	}
	return least
}

// What a message may allocate: its context, which the handler may keep. The ids
// are made beforehand.
func TestAllocations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := newDeduper(t, newMemstore(t), func(o *dedupe.Options) { *o = dedupe.Options{Consumer: "billing", Logger: quiet} })
	next := 0
	var ids []string
	for i := range 300_000 {
		ids = append(ids, idOf(i))
	}
	id := func() string {
		next++
		return ids[next]
	}
	expect := func(what string, most float64, run func()) {
		t.Helper()
		if n := allocations(run); n > most {
			t.Errorf("%s: %v allocations, want at most %v", what, n, most)
		}
	}
	expect("a message", 1, func() {
		if _, err := d.Do(ctx, dedupe.ID(id()), noop); err != nil {
			t.Fatal(err)
		}
	})
	expect("a duplicate", 0, func() {
		if r, err := d.Do(ctx, dedupe.ID(ids[next]), noop); err != nil || !r.Duplicate {
			t.Fatal(r, err)
		}
	})
	handler := d.Wrap(func(context.Context, *bus.Message) error { return nil })
	m := &bus.Message{}
	expect("a message of a bus", 1, func() {
		m.ID = id()
		if err := handler(ctx, m); err != nil {
			t.Fatal(err)
		}
	})
	expect("a duplicate of a bus", 0, func() {
		if err := handler(ctx, m); err != nil {
			t.Fatal(err)
		}
	})
	batch := d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error { return make([]error, len(ms)) })
	ms := make([]*bus.Message, 100)
	for i := range ms {
		ms[i] = &bus.Message{}
	}
	expect("a batch of 100", 20, func() {
		for _, m := range ms {
			m.ID = id()
		}
		for _, err := range batch(ctx, ms) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
