package natsbus

import (
	"context"
	"errors"

	"github.com/oncebus/once/bus"
)

var errNoHandler = errors.New("natsbus: handler is nil")

// Consume hands messages to h until ctx ends and the handlers that run then have
// returned and their messages are settled. What arrives while it stops is given
// back to the server at once. It goes on through reconnects, restarts of the
// server and changes of leader.
//
// Handlers get a context with ctx's values that outlives ctx: it ends
// Options.DrainTimeout later, with the cause bus.ErrDrainTimeout.
//
// Consume returns nil after a clean stop, an error that wraps
// bus.ErrDrainTimeout if it had to leave handlers or confirmations behind, one
// that wraps jetstream.ErrConsumerDeleted, ErrConsumerNotFound or
// ErrStreamNotFound when there is nothing left to consume, and one that wraps
// nats.ErrConnectionClosed when the connection is closed. It may be called more
// than once at a time; each call has workers of its own.
func (c *Consumer) Consume(ctx context.Context, h bus.Handler) error {
	if h == nil {
		return errNoHandler
	}
	group, hctx := bus.NewGroup(ctx)
	gone := make(chan struct{})
	p := newPuller(c, c.opts.workers())
	p.run = func(d *delivery) {
		c.counts.delivered.Add(1)
		d.gone = gone
		group.Go(func() {
			bus.Serve(hctx, h, &d.msg, func(s bus.Settlement) {
				p.returned() // the worker is free while the ack is confirmed
				d.settle(s)
				p.settled()
			})
		})
	}
	err := p.pull(ctx)
	if err != nil {
		close(gone)
	}
	return errors.Join(err, group.Drain(c.opts.DrainTimeout))
}
