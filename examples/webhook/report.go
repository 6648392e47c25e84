package main

import (
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
)

// summary is the outcome of a job. The package documentation says what each
// number is, and which of them add up.
type summary struct {
	drill.Summary
	Requests int64 `json:"requests"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Dropped  int64 `json:"dropped"`
	Forged   int64 `json:"forged"`

	workers int
}

// sumUp makes the summary of a job that has ended after elapsed.
func (j *job) sumUp(elapsed time.Duration, interrupted bool) *summary {
	var dedupers []*dedupe.Deduper
	for _, r := range j.receivers {
		dedupers = append(dedupers, r.deduper)
	}
	s := &summary{
		Summary:  j.Sum(j.ledger, elapsed, dedupers...),
		Requests: j.sender.requests.Load(), Accepted: j.sender.accepted.Load(), Refused: j.sender.refused.Load(),
		Dropped: j.sender.dropped.Load(), Forged: j.sender.forgeries.Load(),
		workers: j.Workers,
	}
	if interrupted {
		s.Hold(s.Lost) // the sender has them still
	}
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	t.Begin("Two receivers, %d events at a time", s.workers)
	t.Title("Requests")
	t.Row(s.Requests, "in all")
	t.Row(s.Accepted, "were answered 2xx")
	t.Row(s.Refused, "were told to come again")
	t.Row(s.Dropped, "had no answer: dropped, given up after %v, or broken off", patience)
	t.Row(s.Forged, "were forged, and refused")
	t.Deliveries(&s.Summary)
	t.Row(s.Slow, "of all had a handler slower than the sender waits")
	t.Orders(&s.Summary, maxTries)
}
