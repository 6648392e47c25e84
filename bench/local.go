//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
)

// localIDs is how many ids the local memory is asked about: few enough for it to
// hold all, and more than the nearest cache does.
const localIDs = 1 << 15

var errNotRemembered = errors.New("a message that was handled was run again")

// local measures what needs no server, by one caller.
func (b *bench) local() error {
	d, err := b.memory()
	if err != nil {
		return err
	}
	duplicates, err := b.duplicates()
	if err != nil {
		return err
	}
	do := b.quick(b.do("memstore Do", nil, d, 1), 64)
	all, err := b.turns("local", b.set.turns, duplicates, do)
	if err != nil {
		return err
	}
	perCore := func(s series) float64 { return 1 / median(mapped(s, client)) } // messages a µs
	const how = "messages by the processor time of the process, one caller, median of %d turns of %v"
	b.found(localRate, perCore(all[0]), how, b.set.turns, b.set.sample)
	b.found(localAllocs, all[0].median().Allocs, "by runtime.MemStats")
	b.found(memRate, perCore(all[1]), how+"; records end as fast as they come", b.set.turns, b.set.sample)
	b.found(memAllocs, all[1].median().Allocs, "by runtime.MemStats")
	return nil
}

// quick makes one call of many, for calls that take no longer than looking at the
// clock.
func (b *bench) quick(w *way, per int) *way {
	q := *w
	q.per, q.timed = per, false
	q.open = func(caller int) (func(uint64) error, error) {
		handle, err := w.open(caller)
		return func(n uint64) error {
			for i := range uint64(per) {
				if err := handle(n + i); err != nil {
					return err
				}
			}
			return nil
		}, err
	}
	return &q
}

// duplicates asks about ids that the process has handled a moment ago.
func (b *bench) duplicates() (*way, error) {
	store, err := memstore.New(nil)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	d, err := b.deduper(store, dedupe.Options{})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	handled := make([]dedupe.Identity, localIDs)
	w := &way{name: "duplicates", callers: 1, per: 1, open: func(int) (func(uint64) error, error) {
		return func(n uint64) error {
			result, err := d.Do(ctx, handled[n%localIDs], nothing)
			if err == nil && !result.Duplicate {
				err = errNotRemembered
			}
			return err
		}, nil
	}}
	w = b.quick(w, 64)
	w.before = func() error { // it remembers them for a minute
		for i := range handled {
			handled[i] = dedupe.ID(b.ids.at(b.ids.take(1)))
			if _, err := d.Do(ctx, handled[i], nothing); err != nil {
				return err
			}
		}
		return nil
	}
	return w, nil
}
