package watermillbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
)

// closing is how long a subscriber has to close the channel of a subscription
// whose context has ended.
const closing = 5 * time.Second

// Consume hands the messages of a topic to h until ctx ends and the handlers that
// run then have returned and their messages are settled. How many messages sub
// hands out before the first is acked is its own matter, many hand out one.
//
// Handlers get a context that outlives ctx and has the values of the message's: it
// ends DrainTimeout later, with the cause bus.ErrDrainTimeout, and earlier when sub
// ends that of the message. Nacks that are held back are told at once when ctx
// ends. Consume returns nil after a clean stop, ErrSubscriptionEnded if sub ended it,
// an error that wraps bus.ErrDrainTimeout if it had to leave handlers behind, and an
// error that names the option if o is wrong. It does not close sub. A nil o stands
// for the defaults.
func Consume(ctx context.Context, sub message.Subscriber, topic string, h bus.Handler, o *Options) error {
	opts, err := o.withDefaults()
	switch {
	case err != nil:
		return err
	case sub == nil:
		return errors.New("watermillbus: the subscriber is nil")
	case h == nil:
		return errors.New("watermillbus: handler is nil")
	}
	if opts.Rejected == nil {
		opts.Rejected = func(context.Context, bus.DeadLetter) error {
			opts.Logger.Info("watermillbus: a message was rejected and is acked", "topic", topic)
			return nil
		}
	}
	group, hctx := bus.NewGroup(ctx)
	// The subscription outlives ctx too: when it ends, acks have nowhere to go.
	messages, err := sub.Subscribe(hctx, topic)
	if err != nil {
		return errors.Join(fmt.Errorf("watermillbus: subscribe: %w", err), group.Drain(0))
	}
	c := consumer{Options: opts, topic: topic, handler: h, stopping: ctx, free: make(chan struct{}, opts.Workers)}
	err = c.take(ctx, messages, func(msg *message.Message) {
		group.Go(func() { c.serve(hctx, msg) })
	})
	err = errors.Join(err, group.Drain(opts.DrainTimeout)) // ends hctx
	giveBack(messages)
	return err
}

// consumer is one call of Consume.
type consumer struct {
	Options
	topic    string
	handler  bus.Handler
	stopping context.Context // its end cuts short what is held back
	free     chan struct{}   // has an element for each handler that runs
}

// take hands over messages, while there are free workers, until ctx ends.
func (c *consumer) take(ctx context.Context, messages <-chan *message.Message, serve func(*message.Message)) error {
	for {
		select {
		case c.free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		select {
		case msg, ok := <-messages:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return ErrSubscriptionEnded
			}
			serve(msg)
		case <-ctx.Done():
			return nil
		}
	}
}

// serve runs the handler and settles msg. A nack that is held back takes no worker.
func (c *consumer) serve(hctx context.Context, msg *message.Message) {
	ctx, cancel := context.WithCancelCause(msg.Context())
	defer cancel(nil)
	defer context.AfterFunc(hctx, func() { cancel(context.Cause(hctx)) })()
	m := messageOf(c.topic, msg)
	bus.Serve(ctx, c.handler, m, func(s bus.Settlement) {
		hold, err := c.verdict(ctx, m, s)
		<-c.free
		if err == nil {
			msg.Ack()
			return
		}
		wait(c.stopping, hold)
		msg.Nack()
	})
}

// giveBack nacks what is left in the channel of a subscription that was ended.
func giveBack(messages <-chan *message.Message) {
	timer := time.NewTimer(closing)
	defer timer.Stop()
	for {
		select {
		case msg, ok := <-messages:
			if !ok {
				return
			}
			msg.Nack()
		case <-timer.C:
			return
		}
	}
}
