//go:build linux

package nemesis

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
)

// source is what a worker consumes.
type source struct {
	consume    func(context.Context, bus.Handler) error
	redelivery bus.Redelivery
	sink       bus.DeadLetterSink
	close      func()
}

func (w *worker) source(ctx context.Context) (*source, error) {
	if w.Kafka {
		return w.kafka()
	}
	return w.jetStream(ctx)
}

// jetStream consumes from the durable consumer.
func (w *worker) jetStream(ctx context.Context) (*source, error) {
	nc, err := w.connectNATS(ctx, w.Bus)
	if err != nil {
		return nil, err
	}
	s := &source{close: nc.Close}
	js, err := jetstream.New(nc)
	if err == nil {
		var messages *natsbus.Consumer
		messages, err = persistently(ctx, func() (*natsbus.Consumer, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			consumer, err := js.Consumer(ctx, w.Stream, w.Durable)
			if err != nil {
				return nil, err
			}
			return natsbus.New(ctx, js, consumer, &natsbus.Options{
				Workers: w.Handlers, DrainTimeout: w.Drain, AckTimeout: w.Lease / 2, Logger: w.logger,
				Backoff: bus.Exponential(20*time.Millisecond, w.Lease),
			})
		})
		if err == nil {
			s.consume, s.redelivery = messages.Consume, messages.Redelivery()
			s.sink, err = persistently(ctx, func() (bus.DeadLetterSink, error) { return natsbus.DeadLetter(ctx, js, w.Dead, nil) })
		}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}
