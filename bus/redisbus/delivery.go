package redisbus

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
)

// delivery is one delivery of an entry and its settlement.
type delivery struct {
	s      *session
	entry  Entry
	msg    bus.Message
	life   int64 // of the group
	action bus.Action

	settled atomic.Bool
	queued  atomic.Bool           // a keep-alive is on its way
	deleted atomic.Bool           // the entry is no longer in the stream
	failed  atomic.Pointer[error] // why the last keep-alive did not arrive
	fresh   atomic.Int64          // when the entry's idle time began at the latest, as a time.Duration since base
}

// base is where the monotonic clock of this package begins; the wall clock may
// step.
var base = time.Now()

// asked is when entries were asked for, and in which life of the group.
type asked struct {
	at   time.Time
	life int64
}

func (s *session) ask() asked { return asked{time.Now(), s.c.life.Load()} }

// deliver makes a delivery of an entry.
func (s *session) deliver(e Entry, number int, asked asked) *delivery {
	d := &delivery{s: s, entry: e, life: asked.life}
	d.msg = s.c.enc.message(s.c.stream, &d.entry)
	d.msg.Delivery, d.msg.AckWait, d.msg.KeepAlive = number, s.c.opts.MinIdle, d.keepAlive
	d.fresh.Store(int64(asked.at.Sub(base)))
	return d
}

// keepAlive has the entry's idle time set to zero. It returns at once and what it
// asked for leaves with that of others, for it is called for thousands of
// deliveries in a row; that an earlier one failed shows in the next.
func (d *delivery) keepAlive(ctx context.Context) error {
	switch {
	case d.settled.Load():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if d.queued.CompareAndSwap(false, true) {
		d.s.teller.keep(&keep{id: d.entry.ID, number: d.msg.Delivery, note: d.msg.Delivery, d: d})
	}
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// kept notes what became of a keep-alive that was sent at sent.
func (d *delivery) kept(sent time.Time, fate string) {
	switch fate {
	case kept:
		d.fresh.Store(int64(sent.Sub(base)))
		d.failed.Store(nil)
	case deleted: // it can still be handled, and not be retried
		d.deleted.Store(true)
		d.failed.Store(nil)
	default:
		err := ErrTaken
		d.failed.Store(&err)
	}
	d.queued.Store(false)
}

// settle does what the handler's error asks for.
func (d *delivery) settle(st bus.Settlement) {
	d.settled.Store(true)
	d.action = st.Action
	switch st.Action {
	case bus.ActionAck:
		d.s.teller.ack(d)
	case bus.ActionReject:
		if err := d.reject(st.Err); err != nil {
			d.s.c.opts.Logger.Error("redisbus: a rejected message could not be handed over and is retried",
				"stream", d.s.c.stream, "group", d.s.c.group, "error", err)
			d.action = bus.ActionRetry
			d.retryAfter(d.s.c.opts.Backoff(d.msg.Delivery))
			return
		}
		d.s.teller.ack(d)
	case bus.ActionRetry:
		delay := st.Delay
		if !st.HasDelay {
			delay = d.s.c.opts.Backoff(d.msg.Delivery)
		}
		d.retryAfter(delay)
	case bus.ActionAbandon:
		d.s.c.counts.abandoned.Add(1)
	}
}

// reject hands the message to where rejected messages go. A panic there is a
// failure.
func (d *delivery) reject(reason error) (err error) {
	c := d.s.c
	if c.opts.Rejected == nil {
		c.opts.Logger.Info("redisbus: a message was rejected and is acked", "stream", c.stream, "group", c.group, "delivery", d.msg.Delivery)
		return nil
	}
	bus.Guard(func() error {
		return c.opts.Rejected(context.WithoutCancel(d.s.hctx), bus.DeadLetter{
			Message: &d.msg, ID: deadLetterID(c.group, &d.msg), Consumer: c.group, Reason: reason.Error(), Attempt: d.msg.Delivery,
		})
	}, func(failed error) { err = failed })
	return err
}

// retryAfter leaves the entry pending and has it delivered again after delay.
func (d *delivery) retryAfter(delay time.Duration) {
	s := d.s
	if d.deleted.Load() {
		s.deleted(1)
		return
	}
	s.c.counts.retried.Add(1)
	now := time.Now()
	w := &wait{id: d.entry.ID, number: d.msg.Delivery, due: now.Add(delay), fresh: base.Add(time.Duration(d.fresh.Load()))}
	var k *keep
	s.mu.Lock()
	switch {
	case s.stopped:
		k = w.release(s.c.opts.MinIdle)
	case w.due.Sub(w.fresh) > s.c.opts.MinIdle/2:
		k = w.refresh()
		fallthrough
	default:
		s.waiting.add(w)
	}
	s.mu.Unlock()
	if k != nil {
		s.teller.keep(k)
	}
}
