package main

import (
	"context"
	"errors"
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
)

// summary is the outcome of a job. The package documentation says which of the
// numbers add up.
type summary struct {
	drill.Summary
	Published   int64 `json:"published"`
	Copies      int64 `json:"copies"`
	Claimed     int64 `json:"claimed"`
	DeadLetters int64 `json:"dead_letters"`

	job *job
}

// sumUp makes the summary of a job that has ended with err after elapsed.
func (j *job) sumUp(elapsed time.Duration, err error) *summary {
	s := &summary{Published: j.published, job: j}
	var dedupers []*dedupe.Deduper
	for _, p := range j.processes {
		dedupers = append(dedupers, p.deduper)
		s.Claimed += p.orders.Stats().Claimed
	}
	s.Summary = j.Sum(j.ledger, elapsed, dedupers...)
	s.Copies = s.Published - int64(s.Unique)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.DeadLetters = j.client.XLen(ctx, j.Run+"-dead").Val()
	if err != nil && !errors.Is(err, drill.ErrStalled) {
		s.Hold(j.held(ctx)) // the run ended early: what the stream still holds is not lost
	}
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	t.Begin("%v, %d workers in each of %d processes", s.job.server, s.job.Workers, len(s.job.processes))
	t.Title("Messages")
	t.Row(s.Published, "added to the stream: %d orders, %d copies", s.Unique, s.Copies)
	t.Deliveries(&s.Summary)
	t.Row(s.Claimed, "of all were taken over; %d workers vanished before the ack", s.Vanished)
	t.Orders(&s.Summary, maxAttempts)
}
