package watermillbus

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
)

// Middleware returns wrap as a middleware of a Watermill router: around every
// handler it puts what wrap puts around a bus.Handler. A Deduper's Wrap makes the
// handlers take effect once.
//
// The handler is given its message with the context of wrap, so that dedupe.FenceFrom
// works on it and a lost lease ends it. It must not ack or nack the message itself.
// An error of wrap is returned, after the time that it asks for, and the router
// nacks; a panic is returned as *bus.PanicError.
//
// Watermill's Retry goes inside of it; around it, Retry tries again what is in
// progress elsewhere. A PoisonQueue goes around it, with [IsRejected] as filter.
//
// Middleware panics if wrap is nil or an option is wrong: both are constants of the
// program, and routers take no error. A nil o stands for the defaults.
func Middleware(wrap bus.Middleware, o *Options) message.HandlerMiddleware {
	opts, err := o.withDefaults()
	if err != nil {
		panic(err)
	}
	if wrap == nil {
		panic("watermillbus: Middleware of nil")
	}
	return func(h message.HandlerFunc) message.HandlerFunc {
		handler := wrap(opts.inner(h))
		return func(msg *message.Message) ([]*message.Message, error) {
			return nil, opts.handle(msg, handler)
		}
	}
}

// inner returns h, and the publishing of what it produces, as a bus.Handler.
func (o *Options) inner(h message.HandlerFunc) bus.Handler {
	return func(ctx context.Context, m *bus.Message) error {
		msg := m.Raw.(*message.Message)
		outer := msg.Context()
		msg.SetContext(ctx)
		defer msg.SetContext(outer) // for middlewares around this one
		produced, err := h(msg)
		if err != nil || len(produced) == 0 {
			return err
		}
		topic := message.PublishTopicFromCtx(outer)
		if o.Publisher == nil || topic == "" {
			return message.ErrOutputInNoPublisherHandler
		}
		if ctx.Err() != nil { // another owner may be at work by now
			return context.Cause(ctx)
		}
		return o.Publisher.Publish(topic, produced...)
	}
}

// handle returns the error with which the router is to nack msg, nil for an ack.
func (o *Options) handle(msg *message.Message, h bus.Handler) (err error) {
	ctx := msg.Context()
	if o.Publisher == nil && message.PublishTopicFromCtx(ctx) != "" {
		wait(ctx, o.Pause)
		return ErrNoPublisher
	}
	m := messageOf(message.SubscribeTopicFromCtx(ctx), msg)
	bus.Serve(ctx, h, m, func(s bus.Settlement) {
		hold, nack := o.verdict(ctx, m, s)
		wait(ctx, hold)
		if errors.Is(s.Err, bus.ErrGoexit) {
			msg.Nack() // handle does not return, and the router would say nothing
		}
		err = nack
	})
	return err
}
