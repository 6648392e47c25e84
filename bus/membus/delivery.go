package membus

import (
	"context"

	"github.com/oncebus/once/bus"
)

// delivery is one delivery of an entry. Its methods do what a JetStream server
// does, which does not ask whether the delivery is still the latest.
type delivery struct {
	bus     *Bus
	entry   *entry
	number  int  // 1 at the first
	settled bool // guarded by bus.mu
}

// deliver takes the first ready entry and starts its ack wait. b.mu is held and
// there is one.
func (b *Bus) deliver() *delivery {
	e := b.ready.Front().Value.(*entry)
	e.delivered++
	b.stats.Delivered++
	b.enqueueAfter(e, b.opts.AckWait, &b.stats.Expired)
	return &delivery{bus: b, entry: e, number: e.delivered}
}

// message returns what the handler is given.
func (d *delivery) message() *bus.Message {
	m := d.entry.msg
	m.Delivery = d.number
	m.KeepAlive = d.keepAlive
	return &m
}

// keepAlive restarts the ack wait, unless it has passed and the message is
// queued again.
func (d *delivery) keepAlive(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b := d.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if !d.settled && d.live() && d.entry.elem == nil {
		b.enqueueAfter(d.entry, b.opts.AckWait, &b.stats.Expired)
	}
	return nil
}

// live reports whether the message is not settled for good. b.mu is held.
func (d *delivery) live() bool { return d.bus.entries[d.entry.seq] != nil }

// settle does what the handler's error asks for.
func (d *delivery) settle(s bus.Settlement) {
	b := d.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	d.settled = true
	if s.Action == bus.ActionAbandon {
		b.stats.Abandoned++
		return
	}
	if !d.live() {
		b.stats.Stale++
		return
	}
	switch s.Action {
	case bus.ActionAck:
		b.stats.Acked++
		b.remove(d.entry)
	case bus.ActionReject:
		b.stats.Rejected++
		b.remove(d.entry)
	case bus.ActionRetry:
		delay := s.Delay
		if !s.HasDelay {
			delay = b.opts.Backoff(d.number)
		}
		b.stats.Retried++
		if delay > 0 {
			b.enqueueAfter(d.entry, delay, new(int))
		} else {
			b.enqueue(d.entry)
		}
	}
}
