package redisbus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
)

// Consume hands messages to h until ctx ends and the handlers that run then have
// returned and their messages are settled. What arrives while it stops is given
// back at once, and so is what waits for a retry, which other consumers deliver
// when its delay, or MinIdle if that is shorter, has passed. An idle consumer takes
// up to a second to stop. It goes on through reconnects, restarts of the server
// and failovers.
//
// Handlers get a context with ctx's values that outlives ctx: it ends
// Options.DrainTimeout later, with the cause bus.ErrDrainTimeout.
//
// Consume returns nil after a clean stop, an error that wraps bus.ErrDrainTimeout
// if it had to leave handlers behind, one that wraps ErrUnsettled if acks were not
// confirmed, one that wraps ErrNoGroup when the group is gone, and one that wraps
// redis.ErrClosed when the client is closed. It may be called more than once at a
// time; each call has workers of its own.
func (c *Consumer) Consume(ctx context.Context, h bus.Handler) error {
	if h == nil {
		return errNoHandler
	}
	s := c.session(ctx, c.opts.workers())
	return s.run(ctx, func(free int) int { return free }, func(ds []*delivery) {
		for _, d := range ds {
			s.start(func() { bus.Serve(s.hctx, h, &d.msg, d.settle) })
		}
	})
}

// ConsumeBatch is Consume for messages that are handled together: h is given what
// is there, at least one message and at most Options.BatchSize, and its errors
// settle them one by one. Options.Workers batches are handled at a time, by
// default one. All messages of a batch must be handled within MinIdle, or be kept
// alive.
func (c *Consumer) ConsumeBatch(ctx context.Context, h bus.BatchHandler) error {
	if h == nil {
		return errNoHandler
	}
	s := c.session(ctx, max(1, c.opts.Workers))
	return s.run(ctx, func(int) int { return c.opts.BatchSize }, func(ds []*delivery) {
		batch := make([]*bus.Message, len(ds))
		for i, d := range ds {
			batch[i] = &d.msg
		}
		s.start(func() {
			bus.ServeBatch(s.hctx, h, batch, func(i int, st bus.Settlement) { ds[i].settle(st) })
		})
	})
}

// session is one Consume.
type session struct {
	c       *Consumer
	workers int
	group   *bus.Group
	hctx    context.Context
	teller  *teller

	nextClaim time.Time // when to look for entries to take over
	cursor    string    // where that look goes on

	changed chan struct{} // has room for one: look at the following

	mu      sync.Mutex
	running int     // handlers
	waiting waiting // for a retry
	stopped bool
}

func (c *Consumer) session(ctx context.Context, workers int) *session {
	s := &session{c: c, workers: workers, cursor: "0-0", changed: make(chan struct{}, 1)}
	s.group, s.hctx = bus.NewGroup(ctx)
	s.teller = newTeller(s)
	s.waiting.byID = make(map[string]*wait)
	return s
}

// run takes messages until ctx ends or there is nothing left to take, and drains.
// room says how many messages may be taken for so many free workers, and serve
// starts handlers for them.
func (s *session) run(ctx context.Context, room func(free int) int, serve func([]*delivery)) error {
	stop := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(s.teller.run)
	helpers.Go(func() { s.upkeep(stop) })

	err := s.pull(ctx, room, serve)
	s.release()
	drained := s.group.Drain(s.c.opts.DrainTimeout)
	close(stop)
	unsettled := s.teller.close()
	helpers.Wait()
	return errors.Join(err, drained, unsettled)
}

// start runs a handler for messages, and notes when a worker is free again.
func (s *session) start(handle func()) {
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	s.group.Go(func() {
		defer s.returned() // also after a runtime.Goexit
		handle()
	})
}

func (s *session) returned() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.signal()
}

// signal makes pull look for what it can do.
func (s *session) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// release gives back what waits for a retry: whoever looks for entries to take over
// finds each when its delay has passed, or MinIdle if that is shorter.
func (s *session) release() {
	s.mu.Lock()
	s.stopped = true
	left := s.waiting.all()
	s.mu.Unlock()
	for _, w := range left {
		s.teller.keep(w.release(s.c.opts.MinIdle))
	}
}

// upkeep does what has to be done now and then, until stop is closed.
func (s *session) upkeep(stop <-chan struct{}) {
	c := s.c
	ctx := context.Background()
	var done sync.WaitGroup
	defer done.Wait()
	every := func(d time.Duration, what func(context.Context) error) {
		done.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				ctx, cancel := context.WithTimeout(ctx, c.opts.AckTimeout)
				if err := what(ctx); err != nil && !groupGone(err) && !errors.Is(err, ErrNoGroup) {
					c.opts.Logger.Warn("redisbus: upkeep failed, it is tried again", "stream", c.stream, "group", c.group, "error", err)
				}
				cancel()
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	every(c.opts.ForgetAfter, c.forget)
	if c.opts.TrimEvery > 0 {
		every(c.opts.TrimEvery, c.trim)
	}
	if c.opts.CreateFrom != "" {
		every(floorEvery, c.look)
	}
}

// floorEvery is the time between two looks for what a group would be made anew
// from.
const floorEvery = 10 * time.Second
