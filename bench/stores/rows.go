//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// grown is what an SQL store does with a table of so many rows.
type grown struct {
	Rows int `json:"rows"`
	// Bytes are of a row, IndexBytes those of its two indexes among them.
	Bytes      float64 `json:"bytes"`
	IndexBytes float64 `json:"index_bytes"`
	// Load is how many rows a second were inserted, a hundred thousand at a time.
	Load float64 `json:"rows_per_second"`
	// P50 and P99 are of a claim by one caller, in µs, and OfEmpty the median of
	// the ratios of single turns to a table that begins empty, for messages in
	// batches.
	P50     float64 `json:"claim_p50_us"`
	P99     float64 `json:"claim_p99_us"`
	Rate    float64 `json:"messages_per_second"`
	OfEmpty float64 `json:"of_empty"`
	// Clean is how long it takes to delete 500 rows that are over, in ms.
	Clean float64 `json:"clean_ms"`
}

// rows measures a table that grows, beside one of the same store that begins empty.
func (b *bench) rows(c candidate, large *opened, row *figures) error {
	loaded := 0
	for _, want := range b.set.rows {
		begun := time.Now()
		from := loaded
		for loaded < want {
			n := min(want-loaded, 100_000)
			if err := large.sql.insert(b.ctx, loaded, n); err != nil {
				return err
			}
			loaded += n
		}
		g := grown{Rows: want, Load: significant(float64(want-from) / time.Since(begun).Seconds())}
		if err := b.grown(c, large, &g); err != nil {
			return err
		}
		row.Rows = append(row.Rows, g)
		b.progress("%s, %s rows: %.0f bytes, %.0f of them indexes, claim %.0f µs (p99 %.0f), batches %.2f of an empty table's, 500 rows deleted in %.0f ms",
			row.Name, grouped(int64(g.Rows)), g.Bytes, g.IndexBytes, g.P50, g.P99, g.OfEmpty, g.Clean)
	}
	return nil
}

// insert adds rows of ids that were done, in the order of their ends, as years of
// claims and cleaning leave them. Every thousandth is over.
func (t *table) insert(ctx context.Context, from, n int) error {
	_, err := t.db.ExecContext(ctx, fmt.Sprintf(t.rows, from, from+n-1))
	return err
}

func (b *bench) grown(c candidate, large *opened, g *grown) error {
	for _, statement := range large.sql.settle {
		if _, err := large.sql.db.ExecContext(b.ctx, statement); err != nil {
			return err
		}
	}
	size, indexes, err := large.size()
	if err != nil {
		return err
	}
	g.Bytes, g.IndexBytes = significant(float64(size)/float64(g.Rows)), significant(float64(indexes)/float64(g.Rows))

	empty, err := c.open(b)
	if err != nil {
		return err
	}
	defer empty.close()
	var rates, ratios []float64
	for range b.set.turns {
		r, err := b.rate(large.store, batched, lasting, b.set.warm, b.set.sample)
		if err != nil {
			return err
		}
		of, err := b.rate(empty.store, batched, lasting, b.set.warm, b.set.sample)
		if err != nil {
			return err
		}
		rates, ratios = append(rates, r), append(ratios, r/of)
	}
	g.Rate, g.OfEmpty = significant(median(rates)), significant(median(ratios))

	var claims, cleans []time.Duration
	for begun := time.Now(); len(claims) == 0 || time.Since(begun) < 2*b.set.sample; {
		n := time.Now()
		if err := b.handle(large.store, 1, lasting); err != nil {
			return err
		}
		claims = append(claims, time.Since(n)/2)
	}
	slices.Sort(claims)
	micros := func(d time.Duration) float64 { return significant(float64(d.Nanoseconds()) / 1e3) }
	g.P50, g.P99 = micros(claims[len(claims)/2]), micros(claims[len(claims)*99/100])
	for range b.set.turns {
		n := time.Now()
		if _, err := large.sql.clean(b.ctx, min(500, g.Rows/1000/b.set.turns)); err != nil {
			return err
		}
		cleans = append(cleans, time.Since(n))
	}
	slices.Sort(cleans)
	g.Clean = micros(cleans[len(cleans)/2]) / 1000
	return nil
}
