package amqpbus

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

// delivery is a message as it is handed to a handler once.
type delivery struct {
	s     *session
	in    *intake // on which it came, and on which alone it is settled
	raw   *amqp.Delivery
	since time.Time // when it came
	msg   bus.Message

	due  time.Time // when it is to be handed over again
	wake time.Time // when that, or giving it back, is to be done
}

func (s *session) deliver(in *intake, raw amqp.Delivery) *delivery {
	d := &delivery{s: s, in: in, raw: &raw, since: time.Now()}
	d.msg = message(d.raw, s.c.opts.ID)
	return d
}

// again returns the delivery for a handler that is given it once more: the one before
// may still have the other in its hands.
func (d *delivery) again() *delivery {
	next := *d
	next.msg.Delivery++
	return &next
}

// settle does what the handler's error asks for.
func (d *delivery) settle(st bus.Settlement) {
	c := d.s.c
	switch st.Action {
	case bus.ActionAck:
		if d.tell(d.raw.Ack(false)) {
			c.counts.acked.Add(1)
		}
	case bus.ActionReject:
		d.reject(st.Err)
	case bus.ActionRetry:
		delay := st.Delay
		if !st.HasDelay {
			delay = c.opts.Backoff(d.msg.Delivery)
		}
		c.counts.retried.Add(1)
		d.retryAfter(delay)
	case bus.ActionAbandon:
		c.counts.abandoned.Add(1)
		d.hold(c.opts.AbandonedAfter)
	}
}

// tell notes whether the server could be told something of the message.
func (d *delivery) tell(err error) bool {
	if err != nil {
		d.s.c.counts.unsettled.Add(1)
	}
	return err == nil
}

// reject hands the message to where rejected messages go, or to the server.
func (d *delivery) reject(reason error) {
	c := d.s.c
	if c.opts.Rejected == nil {
		if d.tell(d.raw.Reject(false)) {
			c.counts.rejected.Add(1)
			c.opts.Logger.Info("amqpbus: a message was rejected; it goes to the queue's dead-letter exchange, if there is one", "queue", c.queue, "delivery", d.msg.Delivery)
		}
		return
	}
	var failed error
	bus.Guard(func() error {
		return c.opts.Rejected(context.WithoutCancel(d.s.hctx), bus.DeadLetter{
			Message: &d.msg, ID: deadLetterID(c.queue, &d.msg), Consumer: c.queue, Reason: reason.Error(), Attempt: d.msg.Delivery,
		})
	}, func(err error) { failed = err })
	if failed != nil {
		c.opts.Logger.Error("amqpbus: a rejected message could not be handed over and is retried", "queue", c.queue, "error", failed)
		c.counts.retried.Add(1)
		d.retryAfter(c.opts.Backoff(d.msg.Delivery))
		return
	}
	if d.tell(d.raw.Ack(false)) {
		c.counts.rejected.Add(1)
	}
}

// retryAfter has the message delivered again after delay: from a retry queue, or by
// this consumer.
func (d *delivery) retryAfter(delay time.Duration) {
	c := d.s.c
	if c.opts.RetryQueue == "" || delay < shortestAway || d.in.lost() {
		d.hold(delay)
		return
	}
	if err := c.putOff(context.WithoutCancel(d.s.hctx), d, delay); err != nil {
		c.opts.Logger.Warn("amqpbus: a retry queue took no message, it is held", "queue", c.queue, "error", err)
		d.hold(delay)
		return
	}
	c.counts.putOff.Add(1)
	d.tell(d.raw.Ack(false))
}

// hold keeps the message here, unsettled, and has it handed over again after delay.
func (d *delivery) hold(delay time.Duration) {
	s := d.s
	d.due = time.Now().Add(delay)
	d.wake = d.due
	if end := d.since.Add(s.c.opts.HoldFor); end.Before(d.wake) {
		d.wake = end
	}
	s.mu.Lock()
	stopped, gone := s.stopped, s.in != d.in
	if !stopped && !gone {
		s.held.add(d)
	}
	s.mu.Unlock()
	switch {
	case gone:
		s.c.counts.unsettled.Add(1)
	case stopped:
		d.giveBack()
	default:
		s.signal()
	}
}

// giveBack puts the message back into the queue at once.
func (d *delivery) giveBack() {
	if d.tell(d.raw.Nack(false, true)) {
		d.s.c.counts.givenBack.Add(1)
	}
}
