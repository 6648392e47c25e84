package natsbus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// Handler makes a jetstream.MessageHandler of h, for code that calls the client's
// Consume itself:
//
//	cc, err := cons.Consume(c.Handler(ctx, h))
//
// It returns when h has returned and the message is settled, so it holds the
// client's callback for that long: one message at a time, as before. ctx is the
// handlers' context; let it live until ConsumeContext.Closed.
//
// The client keeps up to 500 messages in a queue where their ack wait runs. Make
// that few enough to be handled in time, by jetstream.PullMaxMessages, or use
// Consume of this package, which keeps none.
//
// Handler panics if h is nil.
func (c *Consumer) Handler(ctx context.Context, h bus.Handler) jetstream.MessageHandler {
	if h == nil {
		panic(errNoHandler)
	}
	return func(m jetstream.Msg) {
		d, err := c.handed(m)
		if err != nil {
			c.opts.Logger.Warn("natsbus: what arrived is no message of the consumer", "error", err)
			return
		}
		c.counts.delivered.Add(1)
		done := make(chan struct{})
		go func() { // of its own, because h may end it by runtime.Goexit
			defer close(done)
			bus.Serve(ctx, h, &d.msg, d.settle)
		}()
		<-done
	}
}
