package main

import (
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
)

// summary is the outcome of a job. The package documentation says which of the
// numbers add up.
type summary struct {
	drill.Summary
	Published int64 `json:"published"`
	Copies    int64 `json:"copies"`
}

// sumUp makes the summary of a job that has ended after elapsed.
func (j *job) sumUp(elapsed time.Duration) *summary {
	var dedupers []*dedupe.Deduper
	for _, p := range j.processes {
		dedupers = append(dedupers, p.deduper)
	}
	s := &summary{Summary: j.Sum(j.ledger, elapsed, dedupers...), Published: j.published}
	s.Copies = s.Published - int64(s.Unique)
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	t.Begin("two Watermill routers on a pub/sub in memory")
	t.Title("Messages")
	t.Row(s.Published, "published, to both routers: %d orders, %d copies", s.Unique, s.Copies)
	t.Deliveries(&s.Summary)
	t.Row(s.Vanished, "of all had a worker that vanished before the ack")
	t.Orders(&s.Summary, maxAttempts)
}
