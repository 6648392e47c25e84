package kafkabus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

var (
	errNoHandler = errors.New("kafkabus: handler is nil")
	errConsuming = errors.New("kafkabus: this Consumer consumes already: make another one, it is another member of the group")
)

// pollAtMost is how many records one poll takes, so that a rebalance never waits
// for long.
const pollAtMost = 10_000

// Consume hands records to h until ctx ends and the handlers that run then have
// returned; what they settled is committed before it returns.
//
// Handlers get a context with ctx's values that outlives ctx: it ends
// Options.DrainTimeout later, with the cause bus.ErrDrainTimeout, or when their
// partition goes; see ErrRevoked and ErrPartitionLost.
//
// Consume returns nil after a clean stop, and otherwise errors that say that
// handlers had to be left behind (bus.ErrDrainTimeout), that the last commit
// failed, so that records come again, or that the client is closed. Only one
// Consume runs at a time.
func (c *Consumer) Consume(ctx context.Context, h bus.Handler) error {
	if h == nil {
		return errNoHandler
	}
	return c.consume(ctx, 1, func(ctx context.Context, ds []*delivery, settle func(int, bus.Settlement)) {
		bus.Serve(ctx, h, &ds[0].msg, func(s bus.Settlement) { settle(0, s) })
	})
}

// ConsumeBatch is Consume for messages that are handled together: those of one
// partition, or one lane of it, that are there, at least one and at most
// Options.BatchSize.
func (c *Consumer) ConsumeBatch(ctx context.Context, h bus.BatchHandler) error {
	if h == nil {
		return errNoHandler
	}
	if c.opts.MaxOutstanding < c.opts.BatchSize {
		return fmt.Errorf("kafkabus: Options.MaxOutstanding of %d is less than Options.BatchSize of %d", c.opts.MaxOutstanding, c.opts.BatchSize)
	}
	return c.consume(ctx, c.opts.BatchSize, func(ctx context.Context, ds []*delivery, settle func(int, bus.Settlement)) {
		batch := make([]*bus.Message, len(ds))
		for i, d := range ds {
			batch[i] = &d.msg
		}
		bus.ServeBatch(ctx, h, batch, settle)
	})
}

type serve func(ctx context.Context, ds []*delivery, settle func(int, bus.Settlement))

// session is one Consume.
type session struct {
	c     *Consumer
	batch int
	serve serve
	group *bus.Group
	hctx  context.Context

	mu         sync.Mutex
	partitions map[topicPartition]*partition

	// committing is held while offsets are gathered and committed, so that no
	// commit of a partition is on its way when the partition goes.
	committing sync.Mutex
}

type topicPartition struct {
	topic  string
	number int32
}

func (c *Consumer) consume(ctx context.Context, batch int, serve serve) error {
	s := &session{c: c, batch: batch, serve: serve, partitions: make(map[topicPartition]*partition)}
	s.group, s.hctx = bus.NewGroup(ctx)
	if !c.session.CompareAndSwap(nil, s) {
		return errConsuming
	}
	defer c.session.Store(nil)

	stopped := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { s.commitNowAndThen(stopped) })
	if !c.reported.Swap(true) {
		beside.Go(func() { c.report(ctx) })
	}
	err := s.poll(ctx)
	close(stopped)
	beside.Wait()

	for _, p := range s.all() {
		p.close()
	}
	err = errors.Join(err, s.group.Drain(c.opts.DrainTimeout), s.commit(context.WithoutCancel(ctx)))
	// A later Consume fetches anew what was not settled.
	s.rewind()
	return err
}

// poll takes records until ctx ends.
func (s *session) poll(ctx context.Context) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		fetches := s.c.client.PollRecords(ctx, pollAtMost)
		if fetches.IsClientClosed() {
			return fmt.Errorf("kafkabus: %w", kgo.ErrClientClosed)
		}
		if ctx.Err() == nil {
			fetches.EachTopic(s.take)
		}
		// What was polled is in the hands of partitions; a rebalance may take them.
		s.c.client.AllowRebalance()
		pause = s.tell(ctx, fetches.Errors(), pause)
	}
	return nil
}

// tell logs what could not be fetched, and waits a little when there was
// something: the client tries again by itself, and some errors come at once.
func (s *session) tell(ctx context.Context, failed []kgo.FetchError, pause time.Duration) time.Duration {
	if len(failed) == 0 || ctx.Err() != nil {
		return 0
	}
	for _, f := range failed {
		s.c.opts.Logger.Warn("kafkabus: fetch failed", "topic", f.Topic, "partition", f.Partition, "error", f.Err)
	}
	pause = min(max(2*pause, 100*time.Millisecond), 5*time.Second)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return pause
}

// take hands the records of a topic to its partitions.
func (s *session) take(t kgo.FetchTopic) {
	t.EachPartition(func(f kgo.FetchPartition) {
		if len(f.Records) == 0 {
			return
		}
		s.partition(t, f.Partition).add(f.Records)
	})
}

// partition returns the partition, which is ours.
func (s *session) partition(t kgo.FetchTopic, number int32) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := topicPartition{t.Topic, number}
	p := s.partitions[key]
	if p == nil {
		p = &partition{
			topic: t.Topic, number: number, log: logOf(t.Topic, t.TopicID, number), opts: &s.c.opts, batch: s.batch, limit: 1,
			run: s.run, pause: s.pause, lanes: make([]lane, 1), timers: make(map[*time.Timer]struct{}), idle: make(chan struct{}),
		}
		switch s.c.opts.Order {
		case ByKey:
			p.lanes = make([]lane, s.c.opts.Concurrency)
		case Unordered:
			p.limit = s.c.opts.Concurrency
		}
		p.ctx, p.cancel = context.WithCancelCause(s.hctx)
		s.partitions[key] = p
	}
	return p
}

// run handles deliveries in a goroutine.
func (s *session) run(p *partition, ds []*delivery) {
	s.group.Go(func() {
		s.c.counts.delivered.Add(int64(len(ds)))
		verdicts := make([]verdict, len(ds))
		defer func() { p.returned(ds, verdicts) }() // also when the handler takes the goroutine away
		s.serve(p.ctx, ds, func(i int, settled bus.Settlement) { verdicts[i] = s.settle(p, ds[i], settled) })
	})
}

// pause makes the client fetch a partition no more, or again.
func (s *session) pause(p *partition, on bool) {
	this := map[string][]int32{p.topic: {p.number}}
	if on {
		s.c.client.PauseFetchPartitions(this)
	} else {
		s.c.client.ResumeFetchPartitions(this)
	}
}

// all returns the partitions that are ours.
func (s *session) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*partition, 0, len(s.partitions))
	for _, p := range s.partitions {
		all = append(all, p)
	}
	return all
}
