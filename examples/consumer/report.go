package main

import (
	"context"
	"errors"
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
)

// summary is the outcome of a job. The package documentation says what each
// number is, and which of them add up.
type summary struct {
	drill.Summary
	Published   int64 `json:"published"`
	Copies      int64 `json:"copies"`
	Caught      int64 `json:"caught"`
	Rejected    int64 `json:"rejected"`
	Expired     int64 `json:"expired"`
	DeadLetters int   `json:"dead_letters"`

	job *job
}

// sumUp makes the summary of a job that has ended with err after elapsed.
func (j *job) sumUp(elapsed time.Duration, err error) *summary {
	var dedupers []*dedupe.Deduper
	for _, p := range j.processes {
		dedupers = append(dedupers, p.deduper)
	}
	s := &summary{
		Summary:   j.Sum(j.ledger, elapsed, dedupers...),
		Published: j.publisher.published.Load(), Copies: j.publisher.copies.Load(), Caught: j.publisher.caught.Load(),
		Rejected: j.rejected.Load(), job: j,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if info, err := j.dead.Info(ctx); err == nil {
		s.DeadLetters = int(info.State.Msgs)
	}
	if err == nil {
		s.Expired = s.Deliveries - s.Published - s.Retried - s.Pending - s.StoreDown - s.Vanished
	}
	if err != nil && s.Lost > 0 && !errors.Is(err, errStalled) {
		// The run ended early: what the bus still holds is not lost.
		held, err := j.held(ctx)
		if err != nil {
			j.Say("%v", err)
		}
		s.Hold(held)
	}
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	t.Begin("%s, %d workers in %d processes", s.job.servers, s.job.Workers, len(s.job.processes))
	t.Title("Messages")
	t.Row(s.Published, "published: %s orders, %s copies", drill.Thousands(s.Published-s.Copies), drill.Thousands(s.Copies))
	if s.Caught > 0 {
		t.Row(s.Caught, "more copies were caught by the stream's own window")
	}
	if s.Rejected > 0 {
		t.Row(s.Rejected, "lines were rejected")
	}
	t.Deliveries(&s.Summary)
	t.Title("Redeliveries")
	t.Row(s.Retried+s.Pending+s.StoreDown, "because the last delivery was given back or put off")
	t.Row(s.Vanished, "because the worker vanished before the ack")
	t.Row(s.Expired, "because the ack wait passed; %s handlers ran longer and were kept alive", drill.Thousands(s.Slow))
	t.Orders(&s.Summary, maxAttempts)
}
