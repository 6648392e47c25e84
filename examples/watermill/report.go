package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// summary is the outcome of a job. The package documentation says which of the
// numbers add up.
type summary struct {
	Unique        int     `json:"unique"`
	Published     int64   `json:"published"`
	Copies        int64   `json:"copies"`
	Deliveries    int64   `json:"deliveries"`
	Charges       int64   `json:"charges"`
	Retried       int64   `json:"retried"`
	Panics        int64   `json:"panics"`
	Duplicates    int64   `json:"duplicates"`
	MemoryHits    int64   `json:"memory_hits"`
	Pending       int64   `json:"pending"`
	GivenUp       int64   `json:"given_up"`
	Other         int64   `json:"other"`
	Vanished      int64   `json:"vanished"`
	Handled       int     `json:"handled"`
	Dead          int     `json:"dead"`
	Lost          int     `json:"lost"`
	DoubleEffects int     `json:"double_effects"`
	Seconds       float64 `json:"seconds"`
	PerSecond     float64 `json:"per_second"`
}

// sumUp makes the summary of a job that has ended after elapsed.
func (j *job) sumUp(elapsed time.Duration) *summary {
	b := j.ledger.Balance()
	s := &summary{
		Unique: b.Orders, Charges: int64(b.Charges), Handled: b.Handled, Dead: b.Dead, Lost: b.Open, DoubleEffects: b.Doubled,
		Published: j.trouble.published.Load(), Vanished: j.trouble.vanished.Load(),
		Seconds:   math.Round(elapsed.Seconds()*1000) / 1000,
		PerSecond: math.Round(float64(b.Handled)/max(elapsed.Seconds(), 0.001)*10) / 10,
	}
	s.Copies = s.Published - int64(s.Unique)
	for _, p := range j.processes {
		d := p.deduper.Stats()
		s.Deliveries += d.Deliveries
		s.Retried += d.Failed + d.Panicked - d.Died
		s.Panics += d.Panicked
		s.Duplicates += d.Duplicates
		s.MemoryHits += d.MemoryHits
		s.Pending += d.Pending
		s.GivenUp += d.Died + d.Dead
	}
	if j.off { // they ran all the same
		s.Duplicates, s.MemoryHits, s.Pending, s.GivenUp = 0, 0, 0, 0
	}
	s.Other = s.Deliveries - s.Charges - s.Retried - s.Duplicates - s.Pending - s.GivenUp
	return s
}

// print writes the table, and with -json the summary as the last line.
func (s *summary) print(j *job, stdout, stderr io.Writer) {
	table := stdout
	if j.json {
		table = stderr
	}
	s.table(table, j)
	if j.json {
		_ = json.NewEncoder(stdout).Encode(s)
	}
}

func (s *summary) table(w io.Writer, j *job) {
	row := func(n int64, what string) { fmt.Fprintf(w, "%12d  %s\n", n, what) }
	fmt.Fprintf(w, "two Watermill routers on a pub/sub in memory, seed %d\n", j.seed)
	if j.off {
		fmt.Fprintln(w, "Deduplication is OFF")
	}
	fmt.Fprintln(w, "\nMessages")
	row(s.Published, fmt.Sprintf("published, to both routers: %d orders, %d copies", s.Unique, s.Copies))
	fmt.Fprintln(w, "\nDeliveries")
	row(s.Deliveries, "in all")
	row(s.Charges, "charged the order")
	row(s.Retried, fmt.Sprintf("failed before the charge (%d panics): to come again", s.Panics))
	row(s.Duplicates, "found the order done: acknowledged, not run")
	row(s.Pending, "found the order at work elsewhere, or not due yet: put off")
	row(s.GivenUp, "failed for the last time, or found the order given up: rejected")
	row(s.Other, "ended otherwise")
	row(s.Vanished, "of all had a worker that vanished before the ack")
	fmt.Fprintln(w, "\nOrders")
	row(int64(s.Unique), "in all")
	row(int64(s.Handled), "charged")
	row(int64(s.Dead), fmt.Sprintf("given up, after %d attempts", maxAttempts))
	row(int64(s.Lost), "LOST")
	row(int64(s.DoubleEffects), "CHARGED MORE THAN ONCE")
	fmt.Fprintf(w, "\n%.1f s, %.0f orders a second\n", s.Seconds, s.PerSecond)
}
