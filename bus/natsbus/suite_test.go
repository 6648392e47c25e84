package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

// suite returns a bustest harness on the server, with a consumer of its own for
// each case.
func suite(t testing.TB, s *natstest.Server, cfg jetstream.ConsumerConfig, opts natsbus.Options) *bustest.Harness {
	r := rigOn(t, s, s.JetStream(), cfg)
	opts.Backoff = bus.Exponential(time.Millisecond, 100*time.Millisecond)
	opts.DrainTimeout = 2 * cfg.AckWait
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			h := nats.Header(header.Clone())
			if h == nil {
				h = nats.Header{}
			}
			if id != "" {
				h.Set(jetstream.MsgIDHeader, id)
			}
			_, err := r.js.PublishMsg(ctx, &nats.Msg{Subject: r.subject, Header: h, Data: data})
			return err
		},
		Consume: func(ctx context.Context, h bus.Handler, workers int) error {
			o := opts
			o.Workers = workers
			return r.open(t, &o).Consume(ctx, h)
		},
		ConsumeBatch: func(ctx context.Context, h bus.BatchHandler, size int) error {
			o := opts
			o.Workers, o.BatchSize = 1, size
			return r.open(t, &o).ConsumeBatch(ctx, h)
		},
		Subject:      r.subject,
		AckWait:      cfg.AckWait,
		DrainTimeout: opts.DrainTimeout,
		Features:     bustest.All(),
	}
}

func TestSuite(t *testing.T) {
	s := natstest.Run(t)
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		return suite(t, s, jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond}, natsbus.Options{})
	})
}

func TestSuiteWithPlainAcks(t *testing.T) {
	s := natstest.Run(t)
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		return suite(t, s, jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond}, natsbus.Options{PlainAck: true})
	})
}
