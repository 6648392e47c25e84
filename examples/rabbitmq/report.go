package main

import (
	"errors"
	"time"

	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
)

// summary is the outcome of a job. The package documentation says which of the
// numbers add up.
type summary struct {
	drill.Summary
	Published   int64 `json:"published"`
	Copies      int64 `json:"copies"`
	Stale       int64 `json:"stale"`
	DeadLetters int64 `json:"dead_letters"`

	job *job
}

// keepStats notes the counts of a consumer that is about to be replaced.
func (p *process) keepStats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past = p.sum()
	p.orders = nil
}

// stats returns the counts of all consumers that the process has had.
func (p *process) stats() amqpbus.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sum()
}

func (p *process) sum() amqpbus.Stats {
	s := p.past
	if p.orders != nil {
		now := p.orders.Stats()
		s.Acked += now.Acked
		s.Rejected += now.Rejected
		s.Unsettled += now.Unsettled
	}
	return s
}

// sumUp makes the summary of a job that has ended with err after elapsed.
func (j *job) sumUp(elapsed time.Duration, err error) *summary {
	s := &summary{Published: j.published.Load(), job: j}
	var dedupers []*dedupe.Deduper
	for _, p := range j.processes {
		dedupers = append(dedupers, p.deduper)
		s.Stale += p.stats().Unsettled
	}
	s.Summary = j.Sum(j.ledger, elapsed, dedupers...)
	s.Copies = s.Published - int64(s.Unique)
	dead, _ := j.ready(j.deadQueue()) // 0 where it cannot be asked
	s.DeadLetters = int64(dead)
	if err != nil && !errors.Is(err, drill.ErrStalled) {
		s.Hold(j.held(s.Lost)) // the run ended early: what the queues still hold is not lost
	}
	return s
}

// Print prints the numbers in the order in which they add up.
func (s *summary) Print(t *drill.Table) {
	t.Begin("RabbitMQ, claims in %v, %d workers in each of %d processes", s.job.server, s.job.Workers, len(s.job.processes))
	t.Title("Messages")
	t.Row(s.Published, "published: %d orders, %d copies", s.Unique, s.Copies)
	t.Deliveries(&s.Summary)
	t.Row(s.Stale, "of all ended after their connection was lost; %d workers vanished before the ack", s.Vanished)
	t.Orders(&s.Summary, maxAttempts)
}
