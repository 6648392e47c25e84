package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/examples/ledger"
)

const (
	// again is when a publisher that heard nothing sends once more: later than
	// the stream's duplicate window, and than the 150 ms for which the server may
	// keep that open.
	again = 250 * time.Millisecond
	// maxTries is how often it does.
	maxTries = 10
	// maxInFlight bounds what is sent and not acknowledged by the stream.
	maxInFlight = 256
	// maxAhead bounds what is in the stream and not settled, so that a copy meets
	// its original at work, and not long after.
	maxAhead = 1000
)

// publisher sends orders to the stream, some of them more than once, as a
// publisher does that missed an acknowledgement: with the same Nats-Msg-Id, and
// too late for the stream to notice.
type publisher struct {
	js      jetstream.JetStream
	subject string
	again   func(id string) bool // whether an order is published again
	ledger  *ledger.Ledger

	// For others to read.
	published atomic.Int64 // messages that the stream took
	copies    atomic.Int64 // of these, those whose order it had before
	caught    atomic.Int64 // copies that it knew for duplicates
	left      atomic.Int64 // messages that are settled for good

	fewer  chan struct{} // signalled when left rises
	events chan event

	inFlight map[*nats.Msg]shipment
	waiting  []shipment // to be sent when due; the next one first
	seen     map[string]struct{}
}

// shipment is a message on its way into the stream.
type shipment struct {
	order
	copy  bool
	tries int
	due   time.Time
}

// event is the answer of the stream to a message.
type event struct {
	msg *nats.Msg
	ack *jetstream.PubAck
	err error
}

func newPublisher(nc *nats.Conn, subject string, again func(id string) bool, l *ledger.Ledger) (*publisher, error) {
	p := &publisher{
		subject: subject, again: again, ledger: l,
		fewer:    make(chan struct{}, 1),
		events:   make(chan event, 2*maxInFlight), // one for each in flight: sends never wait
		inFlight: map[*nats.Msg]shipment{},
		seen:     map[string]struct{}{},
	}
	var err error
	p.js, err = jetstream.New(nc,
		jetstream.WithPublishAsyncTimeout(5*time.Second),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			p.events <- event{msg: m, ack: ack}
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			p.events <- event{msg: m, err: err}
		}))
	return p, err
}

// room returns how large an order may be for the server to take it, and once more
// with the headers of a dead letter.
func (p *publisher) room() int { return int(p.js.Conn().MaxPayload()) - 16<<10 }

// leaving returns h with a look at what the bus is told: the publisher has to
// know how many messages the stream still holds. It goes around everything else.
func (p *publisher) leaving(h bus.Handler) bus.Handler {
	return func(ctx context.Context, m *bus.Message) error {
		err := h(ctx, m)
		switch bus.SettlementOf(err).Action {
		case bus.ActionAck, bus.ActionReject:
			p.left.Add(1)
			select {
			case p.fewer <- struct{}{}:
			default:
			}
		}
		return err
	}
}

// run publishes what comes from orders, and the copies, until all is in the
// stream. When ctx ends it waits for what is in flight and drops the copies that
// are not due.
func (p *publisher) run(ctx context.Context, orders <-chan order) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for orders != nil || len(p.inFlight)+len(p.waiting) > 0 {
		var next <-chan order
		var due <-chan time.Time
		if len(p.inFlight) < maxInFlight && p.published.Load()-p.left.Load() < maxAhead {
			if len(p.waiting) < maxAhead {
				next = orders
			}
			if len(p.waiting) > 0 {
				timer.Reset(time.Until(p.waiting[0].due))
				due = timer.C
			}
		}
		select {
		case o, ok := <-next:
			if !ok {
				orders = nil
				continue
			}
			p.take(o)
		case <-due:
			s := p.waiting[0]
			p.waiting = p.waiting[1:]
			p.send(s)
		case e := <-p.events:
			if err := p.answered(e); err != nil {
				return err
			}
		case <-p.fewer:
		case <-ctx.Done():
			return p.finish()
		}
	}
	return nil
}

// take publishes an order, at once if it is new.
func (p *publisher) take(o order) {
	if _, ok := p.seen[o.id]; ok {
		p.later(shipment{order: o, copy: true})
		return
	}
	p.seen[o.id] = struct{}{}
	p.send(shipment{order: o})
}

func (p *publisher) later(s shipment) {
	s.due = time.Now().Add(again)
	p.waiting = append(p.waiting, s)
}

func (p *publisher) send(s shipment) {
	m := &nats.Msg{Subject: p.subject, Data: s.data, Header: nats.Header{jetstream.MsgIDHeader: {s.id}}}
	p.inFlight[m] = s
	if _, err := p.js.PublishMsgAsync(m); err != nil {
		p.events <- event{msg: m, err: err}
	}
}

// answered notes what the stream says to a message. A message without an answer
// is sent again, which is how duplicates come about.
func (p *publisher) answered(e event) error {
	s := p.inFlight[e.msg]
	delete(p.inFlight, e.msg)
	s.tries++
	switch {
	case e.err != nil && s.tries < maxTries:
		p.later(s)
	case e.err != nil:
		return fmt.Errorf("publish: %w", e.err)
	case s.copy && e.ack.Duplicate && s.tries < maxTries/3:
		p.later(s) // too early: the stream still knows the original
	case s.copy && e.ack.Duplicate:
		p.caught.Add(1)
	case s.copy:
		p.published.Add(1)
		p.copies.Add(1)
	default:
		p.ledger.Accept(s.id)
		p.published.Add(1)
		if p.again(s.id) {
			p.later(shipment{order: s.order, copy: true})
		}
	}
	return nil
}

// finish waits for the answers to what is in flight.
func (p *publisher) finish() error {
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	for len(p.inFlight) > 0 {
		select {
		case e := <-p.events:
			if e.err != nil {
				delete(p.inFlight, e.msg)
				continue
			}
			_ = p.answered(e)
		case <-timeout.C:
			return nil
		}
	}
	return nil
}
