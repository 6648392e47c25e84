package natsbus

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// delivery is one delivery and its settlement.
type delivery struct {
	c       *Consumer
	reply   string // where settlements go
	msg     bus.Message
	gone    <-chan struct{} // closed when there is no consumer left to tell
	due     atomic.Int64    // when the ack wait ends, as a time.Duration since base
	settled atomic.Bool
}

// pulled makes a delivery of a message that a pull request brought.
func (c *Consumer) pulled(m *nats.Msg) (*delivery, error) {
	md, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("natsbus: message without JetStream's reply subject: %w", err)
	}
	d := c.delivery(place{md.Stream, md.Sequence.Stream, md.NumDelivered, md.Timestamp}, m.Reply)
	d.msg.Subject, d.msg.Header, d.msg.Data, d.msg.Raw = m.Subject, bus.Header(m.Header), m.Data, m
	d.msg.ID = d.msg.Header.Get(jetstream.MsgIDHeader)
	return d, nil
}

// handed makes a delivery of a message that the client handed over.
func (c *Consumer) handed(m jetstream.Msg) (*delivery, error) {
	md, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("natsbus: message without JetStream's reply subject: %w", err)
	}
	d := c.delivery(place{md.Stream, md.Sequence.Stream, md.NumDelivered, md.Timestamp}, m.Reply())
	d.msg.Subject, d.msg.Header, d.msg.Data, d.msg.Raw = m.Subject(), bus.Header(m.Headers()), m.Data(), m
	d.msg.ID = d.msg.Header.Get(jetstream.MsgIDHeader)
	return d, nil
}

func (c *Consumer) delivery(p place, reply string) *delivery {
	wait := c.ackWait(int(p.delivered))
	d := &delivery{c: c, reply: reply, msg: bus.Message{
		Position:  p.position(),
		Delivery:  int(p.delivered),
		Published: p.stored,
		AckWait:   wait,
	}}
	if c.log != nil {
		d.msg.Log, d.msg.Sequence = c.log.of(p.stored), p.sequence
	}
	d.msg.KeepAlive = d.keepAlive
	d.restart()
	return d
}

// base is where the monotonic clock of this package begins; the wall clock may
// step.
var base = time.Now()

// restart notes that the ack wait begins now.
func (d *delivery) restart() { d.due.Store(int64(time.Since(base) + d.msg.AckWait)) }

// left returns how much of the ack wait is left.
func (d *delivery) left() time.Duration { return time.Duration(d.due.Load()) - time.Since(base) }

// keepAlive sends the server's "in progress". It is not confirmed: it is sent for
// thousands of deliveries in a row. While there is no connection it is an error
// and not left to the client's buffer, which may be flushed when it is too late.
func (d *delivery) keepAlive(ctx context.Context) error {
	switch {
	case d.settled.Load():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !d.c.nc.IsConnected():
		return fmt.Errorf("natsbus: keep-alive: %w", nats.ErrDisconnected)
	}
	if err := d.c.nc.Publish(d.reply, ackProgress); err != nil {
		return fmt.Errorf("natsbus: keep-alive: %w", err)
	}
	d.restart()
	return nil
}
