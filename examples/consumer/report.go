package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// few is how many orders are named.
const few = 10

// summary is the outcome of a job. The package documentation says what each
// number is, and which of them add up.
type summary struct {
	Unique        int   `json:"unique"`
	Published     int64 `json:"published"`
	Copies        int64 `json:"copies"`
	Caught        int64 `json:"caught"`
	Rejected      int64 `json:"rejected"`
	Deliveries    int64 `json:"deliveries"`
	Charges       int64 `json:"charges"`
	Retried       int64 `json:"retried"`
	Panics        int64 `json:"panics"`
	Duplicates    int64 `json:"duplicates"`
	MemoryHits    int64 `json:"memory_hits"`
	Pending       int64 `json:"pending"`
	GivenUp       int64 `json:"given_up"`
	Other         int64 `json:"other"`
	Handled       int   `json:"handled"`
	Dead          int   `json:"dead"`
	DeadLetters   int   `json:"dead_letters"`
	Unsettled     int   `json:"unsettled"`
	Lost          int   `json:"lost"`
	DoubleEffects int   `json:"double_effects"`

	Vanished    int64 `json:"vanished"`
	Expired     int64 `json:"expired"`
	Slow        int64 `json:"slow"`
	Takeovers   int64 `json:"takeovers"`
	LeaseLost   int64 `json:"lease_lost"`
	LostCommits int64 `json:"lost_commits"`
	StoreDown   int64 `json:"store_down"`

	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

// sumUp makes the summary of a job that has ended with err after elapsed.
func (j *job) sumUp(elapsed time.Duration, err error) *summary {
	b := j.ledger.Balance()
	s := &summary{
		Unique: b.Orders, Charges: int64(b.Charges), Handled: b.Handled, Dead: b.Dead, DoubleEffects: b.Doubled,
		Published: j.publisher.published.Load(), Copies: j.publisher.copies.Load(), Caught: j.publisher.caught.Load(),
		Rejected: j.rejected.Load(), Vanished: j.trouble.vanished.Load(), Slow: j.trouble.slowRuns.Load(),
		Seconds: math.Round(elapsed.Seconds()*1000) / 1000,
	}
	s.PerSecond = math.Round(float64(s.Handled)/max(elapsed.Seconds(), 0.001)*10) / 10
	for _, p := range j.processes {
		d := p.deduper.Stats()
		s.Deliveries += d.Deliveries
		s.Duplicates += d.Duplicates
		s.MemoryHits += d.MemoryHits
		s.Pending += d.Pending
		s.Retried += d.Failed + d.Panicked - d.Died
		s.Panics += d.Panicked
		s.GivenUp += d.Died + d.Dead
		s.Takeovers += d.Takeovers
		s.LeaseLost += d.LeasesLost
		s.LostCommits += d.LostCommits
		s.StoreDown += d.StoreDown
	}
	if j.off { // they ran all the same
		s.Duplicates, s.MemoryHits, s.Pending, s.GivenUp = 0, 0, 0, 0
	}
	s.Other = s.Deliveries - s.Charges - s.Retried - s.Duplicates - s.Pending - s.GivenUp
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if info, err := j.dead.Info(ctx); err == nil {
		s.DeadLetters = int(info.State.Msgs)
	}
	if err == nil {
		s.Expired = s.Deliveries - s.Published - s.Retried - s.Pending - s.StoreDown - s.Vanished
	}
	if err != nil && b.Open > 0 && !errors.Is(err, errStalled) {
		// The run ended early: what the bus still holds is not lost.
		held, err := j.held(ctx)
		if err != nil {
			j.console.say("consumer: %v", err)
		}
		s.Unsettled = min(b.Open, held)
	}
	s.Lost = s.Unique - s.Handled - s.Dead - s.Unsettled
	return s
}

// print writes the table, and with -json the summary as the last line.
func (s *summary) print(j *job, stdout io.Writer) {
	table := stdout
	if j.json {
		table = j.console
	}
	s.table(table, j)
	if j.json {
		line, err := json.Marshal(s)
		if err != nil {
			panic(err) // a struct of numbers: cannot fail
		}
		fmt.Fprintf(stdout, "%s\n", line)
	}
}

// table prints the numbers for people, in the order in which they add up.
func (s *summary) table(w io.Writer, j *job) {
	row := func(n int64, format string, args ...any) {
		fmt.Fprintf(w, "%12s  %s\n", thousands(n), fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "\n%s, %d workers in %d processes, seed %d\n", j.servers.about, j.workers, len(j.processes), j.seed)
	if j.off {
		fmt.Fprintf(w, "Deduplication is OFF\n")
	}

	fmt.Fprintf(w, "\nMessages\n")
	row(s.Published, "published: %s orders, %s copies", thousands(s.Published-s.Copies), thousands(s.Copies))
	if s.Caught > 0 {
		row(s.Caught, "more copies were caught by the stream's own window")
	}
	if s.Rejected > 0 {
		row(s.Rejected, "lines were rejected")
	}

	fmt.Fprintf(w, "\nDeliveries\n")
	row(s.Deliveries, "in all")
	row(s.Charges, "charged the order")
	row(s.Retried, "failed before the charge (%s panics): given back", thousands(s.Panics))
	row(s.Duplicates, "found the order done: acknowledged, not run")
	row(s.Pending, "found the order at work elsewhere, or not due yet: put off")
	if s.GivenUp > 0 {
		row(s.GivenUp, "failed for the last time, or found the order given up: rejected")
	}
	if s.Other != 0 {
		row(s.Other, "ended otherwise (%s found the claim store down)", thousands(s.StoreDown))
	}

	fmt.Fprintf(w, "\nRedeliveries\n")
	row(s.Retried+s.Pending+s.StoreDown, "because the last delivery was given back or put off")
	row(s.Vanished, "because the worker vanished before the ack")
	row(s.Expired, "because the ack wait passed; %s handlers ran longer and were kept alive", thousands(s.Slow))

	fmt.Fprintf(w, "\nOrders\n")
	row(int64(s.Unique), "in all")
	row(int64(s.Handled), "charged")
	row(int64(s.Dead), "given up, after %d attempts", maxAttempts)
	if s.Unsettled > 0 {
		row(int64(s.Unsettled), "still with the bus")
	}
	row(int64(s.Lost), "LOST")
	row(int64(s.DoubleEffects), "CHARGED MORE THAN ONCE")
	fmt.Fprintf(w, "\n%.1f s, %s orders a second\n", s.Seconds, thousands(int64(s.PerSecond)))
}

// nameSome names a few of the orders that are lost or charged more than once.
func (j *job) nameSome(s *summary) {
	if s.Lost > 0 {
		open := j.ledger.Open()
		for _, id := range open[:min(few, len(open))] {
			j.console.say("consumer: order %s: neither charged nor given up", id)
		}
	}
	doubles := j.ledger.Doubles()
	for _, e := range doubles[:min(few, len(doubles))] {
		j.console.say("consumer: order %s: charged by process %d, attempt %d, fence %d", e.Order, e.Process, e.Attempt, e.Fence)
	}
}
