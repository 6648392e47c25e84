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
	rates, ratios, err := b.between(
		func() (float64, error) { return b.redisRate(l) },
		func() (float64, error) { return b.rate(o.store, l, lasting, b.set.warm, b.set.sample) },
	)
	return compared{Load: l.Name, Turns: len(ratios), Rate: b.counted(rates), OfRedis: b.counted(ratios)}, err
}

// between measures one thing between two measurements of another, again and
// again, and returns what it was and its ratios to their mean, for the turns in
// which the other did not move.
func (b *bench) between(other, one func() (float64, error)) (rates, ratios []float64, err error) {
	before, err := other()
	for try := 0; err == nil && try < 4*b.set.turns && len(ratios) < b.set.turns; try++ {
		var r, after float64
		if r, err = one(); err != nil {
			break
		}
		if after, err = other(); err != nil {
			break
		}
		if b.set.short || max(before, after) <= (1+maxDrift)*min(before, after) {
			rates, ratios = append(rates, r), append(ratios, 2*r/(before+after))
		}
		before = after
	}
	return rates, ratios, err
}

// counted is the median where half of the turns count, and 0 otherwise.
func (b *bench) counted(figures []float64) float64 {
	if 2*len(figures) < b.set.turns {
		return 0
	}
	return significant(median(figures))
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
	begun, filled := time.Now(), 0
	for _, ids := range b.set.ids {
		if err := b.fill(o.store, ids-filled); err != nil {
			return err
		}
		filled = ids
		after, indexes, err := o.size()
		if err != nil {
			return err
		}
		perID := func(n int64) float64 { return significant(float64(n) / float64(ids)) }
		s := taken{IDs: ids, Bytes: perID(after - before), IndexBytes: perID(indexes - indexesBefore)}
		row.Bytes = append(row.Bytes, s)
		b.progress("%s: %.0f bytes an id, %.0f of them indexes, by %s ids in %v",
			row.Name, s.Bytes, s.IndexBytes, grouped(int64(s.IDs)), time.Since(begun).Round(time.Second))
	}
	return nil
}

// clean measures a load whose ids end and are deleted, between two of the same
// whose ids stay.
func (b *bench) clean(o *opened, row *figures) error {
	fast := cmp.Or(o.fast, 1)
	staying := times{lasting.lease * fast, lasting.retention}
	ending := times{b.set.life * fast, b.set.life * fast}
	// The first ids have ended when the sample begins.
	warm, sample := 3*b.set.life, 2*b.set.sample
	ended, left := 0.0, 0
	_, ratios, err := b.between(
		func() (float64, error) { return b.rate(o.store, batched, staying, b.set.warm, sample) },
		func() (float64, error) {
			rate, n, err := b.cleaned(o, func() (float64, error) { return b.rate(o.store, batched, ending, warm, sample) })
			ended, left = ended+rate*(warm+sample-2*b.set.life).Seconds(), left+n
			return rate, err
		})
	if err != nil {
		return err
	}
	row.Cleaning = b.counted(ratios)
	if ended > 0 {
		row.Behind = significant(min(1, float64(left)/ended))
	}
	b.progress("%s: %.2f of the rate while ids end, %.0f %% of them left to the cleaner", row.Name, row.Cleaning, 100*row.Behind)
	return nil
}

// cleaned runs a load beside the store's cleaner and returns how many records
// that were over it had left when the load ended.
func (b *bench) cleaned(o *opened, load func() (float64, error)) (rate float64, left int, err error) {
	if o.cleaner == nil {
		rate, err = load()
		return rate, 0, err
	}
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- o.cleaner(ctx) }()
	rate, err = load()
	stop()
	if err = cmp.Or(err, <-ended); err == nil {
		left, err = o.left(b.ctx)
	}
	return rate, left, err
}
