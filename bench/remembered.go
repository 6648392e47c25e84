//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/oncebus/once/dedupe"
)

// rememberedCounts are how many ids the servers remember. The largest has to fit
// into the memory of the machine with some 130 bytes each.
var rememberedCounts = []int{1_000, 100_000, 10_000_000}

// remembered measures servers that remember more or fewer ids, in turn. A small
// one is filled anew for each turn; the largest grows by what the turns add.
func (b *bench) remembered() error {
	var ways []*way
	for i, count := range rememberedCounts {
		count /= b.set.shrink
		s, err := b.start()
		if err != nil {
			return err
		}
		defer s.Close()
		store, err := b.store(s, nil)
		if err != nil {
			return err
		}
		d, err := b.deduper(store, dedupe.Options{})
		if err != nil {
			return err
		}
		w := b.batch(fmt.Sprintf("%d ids", count), s, d)
		fill := func() error { return remember(s, count, b.set.seed) }
		if i < len(rememberedCounts)-1 {
			w.before = func() error { return errors.Join(s.flush(), fill()) }
		} else {
			if err := fill(); err != nil {
				return err
			}
			w.before = func() error { return nil }
		}
		ways = append(ways, w)
	}
	all, err := b.turns("remembered", b.set.turns, ways...)
	if err != nil {
		return err
	}
	for i, s := range all {
		b.report.Remembered = append(b.report.Remembered, scale{
			IDs: rememberedCounts[i] / b.set.shrink, Rate: s.median().Rate, OfFewest: significant(ratio(s, all[0], rate)),
		})
	}
	b.found(remembered, ratio(all[len(all)-1], all[0], rate), "batches of 100 by four callers on servers of their own, median of %d turns of %v", b.set.turns, b.set.sample)
	return nil
}

// scale is what handling messages costs beside so many remembered ids.
type scale struct {
	IDs      int     `json:"ids"`
	Rate     float64 `json:"messages_per_second"`
	OfFewest float64 `json:"of_the_fewest"`
}
