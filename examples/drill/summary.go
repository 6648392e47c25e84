package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/ledger"
)

// Summary is the outcome of a run. An example embeds it in a struct with the
// numbers of its own bus. The documentation of examples/consumer says what each
// number is, and which of them add up.
type Summary struct {
	Unique        int     `json:"unique"`
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
	Slow          int64   `json:"slow"`
	Takeovers     int64   `json:"takeovers"`
	LeaseLost     int64   `json:"lease_lost"`
	LostCommits   int64   `json:"lost_commits"`
	StoreDown     int64   `json:"store_down"`
	Handled       int     `json:"handled"`
	Dead          int     `json:"dead"`
	Unsettled     int     `json:"unsettled"`
	Lost          int     `json:"lost"`
	DoubleEffects int     `json:"double_effects"`
	Seconds       float64 `json:"seconds"`
	PerSecond     float64 `json:"per_second"`
}

// Sum makes the Summary of a run that ended after elapsed, from its ledger and its
// Dedupers.
func (f *Flags) Sum(l *ledger.Ledger, elapsed time.Duration, dedupers ...*dedupe.Deduper) Summary {
	b := l.Balance()
	s := Summary{
		Unique: b.Orders, Charges: int64(b.Charges), Handled: b.Handled, Dead: b.Dead, Lost: b.Open, DoubleEffects: b.Doubled,
		Vanished: f.vanished.Load(), Slow: f.slowRuns.Load(),
		Seconds:   math.Round(elapsed.Seconds()*1000) / 1000,
		PerSecond: math.Round(float64(b.Handled)/max(elapsed.Seconds(), 0.001)*10) / 10,
	}
	for _, deduper := range dedupers {
		d := deduper.Stats()
		s.Deliveries += d.Deliveries
		s.Retried += d.Failed + d.Panicked - d.Died
		s.Panics += d.Panicked
		s.Duplicates += d.Duplicates
		s.MemoryHits += d.MemoryHits
		s.Pending += d.Pending
		s.GivenUp += d.Died + d.Dead
		s.Takeovers += d.Takeovers
		s.LeaseLost += d.LeasesLost
		s.LostCommits += d.LostCommits
		s.StoreDown += d.StoreDown
	}
	if f.Off { // they ran all the same
		s.Duplicates, s.MemoryHits, s.Pending, s.GivenUp = 0, 0, 0, 0
	}
	s.Other = s.Deliveries - s.Charges - s.Retried - s.Duplicates - s.Pending - s.GivenUp
	return s
}

// Hold notes that the run ended early with n messages still on the bus: so many
// orders are not lost.
func (s *Summary) Hold(n int) {
	held := min(s.Lost, n)
	s.Unsettled += held
	s.Lost -= held
}

// Numbers returns s, also of a struct that embeds it.
func (s *Summary) Numbers() *Summary { return s }

// Outcome is a struct that embeds a Summary.
type Outcome interface {
	// Print prints the numbers for people, in the order in which they add up.
	Print(t *Table)
	// Numbers returns the Summary.
	Numbers() *Summary
}

// Finish says why the run ended, which is err or the end of ctx, prints the outcome
// and returns the exit status: 1 when an order is lost or was charged twice, 2 when
// the run failed otherwise, 0 when it did not or was interrupted. With -json the
// table goes to Stderr, and JSON on one line to stdout.
func (f *Flags) Finish(ctx context.Context, err error, o Outcome, l *ledger.Ledger, stdout io.Writer) int {
	interrupted := ctx.Err() != nil
	switch {
	case interrupted:
		f.Say("interrupted")
	case err != nil:
		f.Say("%v", err)
	}
	s := o.Numbers()
	f.nameSome(s, l)
	table := stdout
	if f.JSON {
		table = f.Stderr
	}
	o.Print(&Table{table, f})
	if f.JSON {
		line, err := json.Marshal(o)
		if err != nil {
			panic(err) // a struct of numbers: cannot fail
		}
		fmt.Fprintf(stdout, "%s\n", line)
	}
	switch {
	case s.Lost != 0 || s.DoubleEffects != 0:
		return 1
	case err != nil && !interrupted:
		return 2
	}
	return 0
}

// nameSome names a few of the orders that are lost or charged more than once.
func (f *Flags) nameSome(s *Summary, l *ledger.Ledger) {
	const few = 10
	if s.Lost > 0 {
		open := l.Open()
		for _, id := range open[:min(few, len(open))] {
			f.Say("order %s: neither charged nor given up", id)
		}
	}
	doubles := l.Doubles()
	for _, e := range doubles[:min(few, len(doubles))] {
		f.Say("order %s: charged by process %d, attempt %d, fence %d", e.Order, e.Process, e.Attempt, e.Fence)
	}
}
