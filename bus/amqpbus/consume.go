package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

// retryPause is the time between two looks at a server that does not serve, at first
// and at most.
const retryPause, retryPauseMax = 100 * time.Millisecond, 5 * time.Second

// gather is how long a batch waits for messages that come right behind the first: the
// library hands them over one by one.
const gather = 2 * time.Millisecond

// Consume hands messages to h until ctx ends and the handlers that run then have
// returned and their messages are settled. What waits here then is given back at once,
// also what waits for a retry. It goes on through lost channels and connections and
// restarts of the server.
//
// Handlers get a context with ctx's values that outlives ctx: it ends
// Options.DrainTimeout later, with the cause bus.ErrDrainTimeout. It does not end with
// the channel: a handler whose message is delivered elsewhere meanwhile goes on, and a
// deduplicator keeps the other one waiting.
//
// Consume returns nil after a clean stop, an error that wraps bus.ErrDrainTimeout if
// it had to leave handlers behind, one that wraps ErrUnsettled if the server did not
// confirm the end, so that messages may come again, one that wraps ErrNoQueue when the
// queue is gone, and ErrClosed when the client is closed. It may be called more than
// once at a time; each call has a channel and workers of its own.
func (c *Consumer) Consume(ctx context.Context, h bus.Handler) error {
	if h == nil {
		return errNoHandler
	}
	return c.consume(ctx, 1, func(ctx context.Context, ds []*delivery) {
		bus.Serve(ctx, h, &ds[0].msg, ds[0].settle)
	})
}

// ConsumeBatch is Consume for messages that are handled together: h is given what is
// there, at least one message and at most Options.BatchSize, and its errors settle
// them one by one. Options.Workers batches are handled at a time, by default one.
func (c *Consumer) ConsumeBatch(ctx context.Context, h bus.BatchHandler) error {
	if h == nil {
		return errNoHandler
	}
	workers, size := c.opts.workers(c.opts.BatchSize), c.opts.BatchSize
	if n := c.opts.prefetch(workers * size); n > mostPrefetch {
		return fmt.Errorf("amqpbus: Options.Workers, BatchSize and MaxHeld make a prefetch count of %d: at most %d is possible", n, mostPrefetch)
	}
	return c.consume(ctx, size, func(ctx context.Context, ds []*delivery) {
		batch := make([]*bus.Message, len(ds))
		for i, d := range ds {
			batch[i] = &d.msg
		}
		bus.ServeBatch(ctx, h, batch, func(i int, st bus.Settlement) { ds[i].settle(st) })
	})
}

// session is one Consume.
type session struct {
	c        *Consumer
	workers  int
	batch    int // how many messages one worker takes at most
	prefetch int
	serve    func(context.Context, []*delivery)
	group    *bus.Group
	hctx     context.Context

	changed chan struct{} // has room for one: look at the following

	mu      sync.Mutex
	in      *intake // nil when there is none
	running int     // handlers, also those of channels that were lost
	fresh   []*delivery
	held    held
	stopped bool
}

func (c *Consumer) consume(ctx context.Context, batch int, serve func(context.Context, []*delivery)) error {
	s := &session{
		c: c, workers: c.opts.workers(batch), batch: batch, serve: serve, changed: make(chan struct{}, 1),
	}
	s.prefetch = c.opts.prefetch(s.workers * batch)
	s.group, s.hctx = bus.NewGroup(ctx)
	err := s.run(ctx)
	in := s.stop()
	err = errors.Join(err, s.group.Drain(c.opts.DrainTimeout))
	if in != nil {
		err = errors.Join(err, in.end())
	}
	return err
}

// run takes messages until ctx ends, and returns nil then, or until there is nothing
// left to take from. It leaves the intake that lives.
func (s *session) run(ctx context.Context) error {
	pause := retryPause
	for first := true; ctx.Err() == nil; first = false {
		began := time.Now()
		err := s.take(ctx, first)
		switch {
		case ctx.Err() != nil:
			return nil
		case queueGone(err):
			return fmt.Errorf("%w: %w", ErrNoQueue, err)
		case errors.Is(err, ErrClosed), errors.Is(err, ErrRefused):
			return err
		}
		if time.Since(began) > retryPauseMax {
			pause = retryPause
		}
		s.c.opts.Logger.Warn("amqpbus: the server does not serve the consumer", "queue", s.c.queue, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, retryPauseMax)
	}
	return nil
}

// take takes messages from one channel until it is lost, and returns why, or until ctx
// ends.
func (s *session) take(ctx context.Context, first bool) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	if !first {
		s.c.counts.reopened.Add(1)
	}
	s.mu.Lock()
	s.in = in
	s.mu.Unlock()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.work())
		select {
		case <-ctx.Done():
			return nil
		case raw, ok := <-in.deliveries:
			if !ok {
				return s.lose(in)
			}
			if raw.Headers["x-stream-offset"] != nil {
				_ = s.lose(in)
				return errStream
			}
			s.arrived(in, raw)
		case <-timer.C:
		case <-s.changed:
		}
	}
}

// arrived keeps a message for a worker, and for a batch what comes right behind it.
func (s *session) arrived(in *intake, raw amqp.Delivery) {
	ds := []*delivery{s.deliver(in, raw)}
	if s.batch > 1 {
		timer := time.NewTimer(gather)
		defer timer.Stop()
		for open := true; open && len(ds) < s.batch; {
			select {
			case raw, open = <-in.deliveries:
				if open { // else take finds out
					ds = append(ds, s.deliver(in, raw))
				}
			case <-timer.C:
				open = false
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = append(s.fresh, ds...)
}

// work hands messages to free workers, gives back what was held for long enough, and
// returns when to look again.
func (s *session) work() time.Duration {
	s.mu.Lock()
	now := time.Now()
	var again, tooLong []*delivery
	for _, d := range s.held.take(now) {
		if d.due.After(now) {
			tooLong = append(tooLong, d)
		} else {
			again = append(again, d.again())
		}
	}
	if len(again) > 0 {
		s.fresh = append(again, s.fresh...)
	}
	for s.running < s.workers && len(s.fresh) > 0 {
		n := min(s.batch, len(s.fresh))
		ds := append([]*delivery(nil), s.fresh[:n]...)
		clear(s.fresh[:n])
		s.fresh = s.fresh[n:]
		s.running++
		s.c.counts.delivered.Add(int64(n))
		s.group.Go(func() {
			defer s.returned() // also after a runtime.Goexit
			s.serve(s.hctx, ds)
		})
	}
	wait := time.Hour
	if next := s.held.next(); !next.IsZero() {
		wait = time.Until(next)
	}
	s.mu.Unlock()
	for _, d := range tooLong {
		d.giveBack()
	}
	return wait
}

func (s *session) returned() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.signal()
}

// signal makes take look for what it can do.
func (s *session) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// lose forgets what came on an intake that was lost, and returns why it was.
func (s *session) lose(in *intake) error {
	s.mu.Lock()
	dropped := len(s.fresh) + len(s.held)
	s.in, s.fresh, s.held = nil, nil, nil
	s.mu.Unlock()
	s.c.counts.dropped.Add(int64(dropped))
	return in.why()
}

// stop gives back what waits here and returns the intake that lives, nil when none
// does, on which nothing arrives any more.
func (s *session) stop() *intake {
	s.mu.Lock()
	s.stopped = true
	in, fresh, waiting := s.in, s.fresh, s.held.all()
	s.fresh = nil
	s.mu.Unlock()
	if in == nil {
		return nil
	}
	for _, d := range waiting {
		d.giveBack()
	}
	in.cancel()
	for _, d := range fresh {
		s.giveBack(d)
	}
	for raw := range in.deliveries {
		s.giveBack(s.deliver(in, raw))
	}
	return in
}

// giveBack puts a message back that nobody has looked at.
func (s *session) giveBack(d *delivery) {
	if d.raw.Nack(false, true) == nil {
		s.c.counts.returned.Add(1)
	}
}
