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
	Revoked     int64 `json:"revoked"`
	DeadLetters int64 `json:"dead_letters"`

	job *job
}

// sumUp makes the summary of a job that has ended with err after elapsed.
func (j *job) sumUp(elapsed time.Duration, err error) *summary {
	s := &summary{Published: j.published, job: j}
	var dedupers []*dedupe.Deduper
	for _, p := range j.processes {
		dedupers = append(dedupers, p.deduper)
		s.Revoked += p.revoked
	}
	s.Summary = j.Sum(j.ledger, elapsed, dedupers...)
	s.Copies = s.Published - int64(s.Unique)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.DeadLetters = j.deadLetters(ctx)
	if err != nil && !errors.Is(err, drill.ErrStalled) {
		if left, err := j.left(ctx); err == nil {
			s.Hold(int(left)) // the run ended early: what the topic still holds is not lost
		}
	}
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	kafka := "embedded Kafka (kfake)"
	if s.job.real {
		kafka = "real Kafka"
	}
	t.Begin("%s, %v, %d processes, %d partitions with %d workers each", kafka, s.job.server, len(s.job.processes), partitions, s.job.Workers)
	t.Title("Messages")
	t.Row(s.Published, "sent to the topic: %d orders, %d copies", s.Unique, s.Copies)
	t.Deliveries(&s.Summary)
	t.Row(s.Revoked, "partitions were taken away; %d workers vanished before the offset counted", s.Vanished)
	t.Orders(&s.Summary, maxAttempts)
}
