//go:build linux

package main

import (
	"cmp"
	"context"
	"time"
)

// maxDrift is how far Redis may move from before a sample to after it.
const maxDrift = 0.2

// rates measures a store under each load, each sample between two of Redis.
func (b *bench) rates(o *opened, row *figures) error {
	for _, l := range loads {
		c, err := b.compare(o, l)
		if err != nil {
			return err
		}
		row.Rates = append(row.Rates, c)
		b.progress("%s, %s: %s", row.Name, l.Name, c)
	}
	return nil
}

func (b *bench) compare(o *opened, l load) (compared, error) {
	var rates, ratios []float64
	before, err := b.redisRate(l)
	if err != nil {
		return compared{}, err
	}
	for try := 0; try < 4*b.set.turns && len(ratios) < b.set.turns; try++ {
		r, err := b.rate(o.store, l, lasting, b.set.warm, b.set.sample)
		if err != nil {
			return compared{}, err
		}
		after, err := b.redisRate(l)
		if err != nil {
			return compared{}, err
		}
		if b.set.short || max(before, after) <= (1+maxDrift)*min(before, after) {
			rates, ratios = append(rates, r), append(ratios, 2*r/(before+after))
		}
		before = after
	}
	c := compared{Load: l.Name, Turns: len(ratios)}
	if 2*len(ratios) >= b.set.turns {
		c.Rate, c.OfRedis = significant(median(rates)), significant(median(ratios))
	}
	return c, nil
}

// redisRate is what Redis does under a load. It has nothing else to remember.
func (b *bench) redisRate(l load) (float64, error) {
	return b.rate(b.redis.store, l, times{lasting.lease, lasting.lease}, b.set.warm, b.set.sample)
}

// bytes measures what ids take.
func (b *bench) bytes(o *opened, row *figures) error {
	if err := b.fill(o.store, 500*batched.callers); err != nil { // connections, plans and first pages
		return err
	}
	before, indexesBefore, err := o.size()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := b.fill(o.store, b.set.ids); err != nil {
		return err
	}
	took := time.Since(begun)
	after, indexes, err := o.size()
	if err != nil {
		return err
	}
	perID := func(n int64) float64 { return significant(float64(n) / float64(b.set.ids)) }
	row.Bytes, row.IndexBytes, row.IDs = perID(after-before), perID(indexes-indexesBefore), b.set.ids
	b.progress("%s: %.0f bytes an id, %.0f of them indexes, by %s ids in %v",
		row.Name, row.Bytes, row.IndexBytes, grouped(int64(row.IDs)), took.Round(time.Second))
	return nil
}

// clean measures the same load while ids end and are deleted, and while they
// stay, in turn.
func (b *bench) clean(o *opened, row *figures) error {
	fast := cmp.Or(o.fast, 1)
	staying := times{lasting.lease * fast, lasting.retention}
	ending := times{b.set.life * fast, b.set.life * fast}
	sample := 2 * b.set.sample
	var ratios []float64
	handled, left := 0.0, 0
	for range b.set.turns {
		kept, err := b.rate(o.store, batched, staying, b.set.warm, sample)
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(b.ctx)
		cleaned := make(chan error, 1)
		go func() {
			if o.cleaner == nil {
				cleaned <- nil
				return
			}
			cleaned <- o.cleaner(ctx)
		}()
		// The first ids have ended when the sample begins.
		warm := 3 * b.set.life
		rate, err := b.rate(o.store, batched, ending, warm, sample)
		stop()
		if err = cmp.Or(err, <-cleaned); err != nil {
			return err
		}
		ratios = append(ratios, rate/kept)
		handled += rate * (warm + sample).Seconds()
		if o.left != nil {
			n, err := o.left(b.ctx)
			if err != nil {
				return err
			}
			left += n
		}
	}
	row.Cleaning = significant(median(ratios))
	if handled > 0 && o.left != nil {
		row.Behind = significant(float64(left) / handled)
	}
	b.progress("%s: %.2f of the rate while ids end, cleaner behind by %.0f %% of them", row.Name, row.Cleaning, 100*row.Behind)
	return nil
}
