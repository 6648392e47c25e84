package natsbus

import (
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oncebus/once/bus"
)

// The words of the acknowledgement protocol.
var (
	ackAck      = []byte("+ACK")
	ackNak      = []byte("-NAK")
	ackProgress = []byte("+WPI")
	// The reason is part of an advisory that anybody may read, so it is never
	// the handler's error, which may hold an id.
	ackTerm = []byte("+TERM rejected by the handler")
)

// settle tells the server what the handler's error asks for. It returns when the
// server has confirmed it, where that is waited for.
func (d *delivery) settle(s bus.Settlement) {
	d.settled.Store(true)
	counts := &d.c.counts
	switch s.Action {
	case bus.ActionAck:
		if d.confirmed(s.Action, ackAck) {
			counts.acked.Add(1)
		}
	case bus.ActionReject:
		if d.confirmed(s.Action, ackTerm) {
			counts.rejected.Add(1)
		}
	case bus.ActionRetry:
		delay := s.Delay
		if !s.HasDelay {
			delay = d.c.opts.Backoff(d.msg.Delivery)
		}
		if d.sent(s.Action, d.nak(delay)) {
			counts.retried.Add(1)
		}
	case bus.ActionAbandon:
		counts.abandoned.Add(1)
	}
}

// nak returns the request for another delivery after delay.
func (d *delivery) nak(delay time.Duration) []byte {
	if delay <= 0 {
		return ackNak // at once, whatever BackOff says
	}
	// The server sets the time of the delivery to now - AckWait + delay, and then
	// waits until BackOff[n-1] has passed since that time. Where there is a
	// BackOff, the consumer's AckWait is its first entry.
	delay -= d.msg.AckWait - d.c.config.AckWait
	b := make([]byte, 0, 40)
	b = append(b, "-NAK {\"delay\": "...)
	b = strconv.AppendInt(b, int64(delay), 10)
	return append(b, '}')
}

// returnAtOnce gives back a message that nobody has looked at.
func (d *delivery) returnAtOnce() {
	d.settled.Store(true)
	if d.sent(bus.ActionRetry, ackNak) {
		d.c.counts.returned.Add(1)
	}
}

// expired leaves alone a message that waited here until its ack wait had passed:
// the server has delivered it again, and any word would hit that delivery.
func (d *delivery) expired() {
	d.settled.Store(true)
	d.c.counts.expired.Add(1)
	d.c.opts.Logger.Warn("natsbus: a message waited here for longer than its ack wait and was left alone",
		"stream", d.c.stream, "consumer", d.c.name, "ack_wait", d.msg.AckWait)
}

// sent sends a settlement once.
func (d *delivery) sent(a bus.Action, body []byte) bool {
	err := d.c.nc.Publish(d.reply, body)
	if err != nil {
		d.c.unsettled(a, d, err)
	}
	return err == nil
}

// confirmed sends a settlement until the server confirms it, the ack wait has
// passed or the consumer is gone, and at least once.
func (d *delivery) confirmed(a bus.Action, body []byte) bool {
	if d.c.opts.PlainAck {
		return d.sent(a, body)
	}
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		sent := time.Now()
		_, err := d.c.nc.Request(d.reply, body, d.c.opts.AckTimeout)
		if err == nil {
			return true
		}
		if errors.Is(err, nats.ErrTimeout) {
			err = ErrNoConfirmation
		}
		// An error that comes at once must not become a hot loop.
		pause = min(pause, d.c.opts.AckTimeout)
		if !d.mayRepeat(min(pause, d.left()) - time.Since(sent)) {
			d.c.unsettled(a, d, err)
			return false
		}
	}
}

// mayRepeat waits and reports whether the settlement can still be sent.
func (d *delivery) mayRepeat(wait time.Duration) bool {
	timer := time.NewTimer(max(0, wait))
	defer timer.Stop()
	select {
	case <-d.gone:
		return false
	case <-timer.C:
	}
	return d.left() > 0 && !d.c.nc.IsClosed()
}

// unsettled tells of a delivery that could not be settled.
func (c *Consumer) unsettled(a bus.Action, d *delivery, err error) {
	c.counts.unsettled.Add(1)
	c.opts.Logger.Warn("natsbus: a delivery could not be settled and will come again",
		"stream", c.stream, "consumer", c.name, "action", a.String(), "delivery", d.msg.Delivery, "error", err)
	if c.opts.OnError != nil {
		c.opts.OnError(&SettleError{Action: a, Position: d.msg.Position, Err: err})
	}
}
