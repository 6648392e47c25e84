//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/oncebus/once/dedupe"
)

// twice is a store that is asked of messages which all come twice, by way of a
// Deduper.
type twice struct {
	store
	d *dedupe.Deduper
}

var errRanTwice = errors.New("a message ran twice, or not at all")

// again handles a message and its copy.
func (b *bench) again(d *dedupe.Deduper) error {
	id := dedupe.ID(fmt.Sprintf("message-%028d", b.ids.Add(1)))
	for _, copied := range []bool{false, true} {
		result, err := d.Do(b.ctx, id, func(context.Context) ([]byte, error) { return nil, nil })
		if err != nil {
			return err
		}
		if result.Duplicate != copied {
			return errRanTwice
		}
	}
	return nil
}

// filter measures messages that come twice, with the process's memory of what is
// done and without, in turn.
func (b *bench) filter(o *opened, row *figures) error {
	ways := make([]*twice, 2)
	for i, size := range []int{0, dedupe.Off} {
		d, err := dedupe.New(o.store, &dedupe.Options{Consumer: "bench", Logger: quiet(), MemorySize: size})
		if err != nil {
			return err
		}
		defer func() { _ = d.Close(context.Background()) }()
		ways[i] = &twice{o.store, d}
	}
	rate := func(w *twice) func() (float64, error) {
		return func() (float64, error) { return b.rate(w, crowd, lasting, b.set.warm, b.set.sample) }
	}
	_, ratios, err := b.between(rate(ways[1]), rate(ways[0]))
	if err != nil {
		return err
	}
	row.Filter = b.counted(ratios)
	b.progress("%s: messages that come twice: %.2f of the rate without a memory", row.Name, row.Filter)
	return nil
}
