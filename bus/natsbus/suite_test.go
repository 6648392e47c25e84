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

// suite returns a bustest harness on r.
func suite(t testing.TB, r *rig) *bustest.Harness {
	ackWait := r.cons.CachedInfo().Config.AckWait
	opts := natsbus.Options{
		Backoff:      bus.Exponential(time.Millisecond, 100*time.Millisecond),
		DrainTimeout: 2 * ackWait,
		Places:       true,
	}
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			h := nats.Header(header.Clone())
			if id != "" {
				if h == nil {
					h = nats.Header{}
				}
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
			o.BatchSize = size
			return r.open(t, &o).ConsumeBatch(ctx, h)
		},
		Subject:      r.subject,
		AckWait:      ackWait,
		DrainTimeout: opts.DrainTimeout,
		Features:     bustest.All(),
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		return suite(t, rigOn(t, s, s.JetStream(), jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond}))
	})
}

// The suite under BackOff: redelivery and delays are the same, if the effective
// ack wait is taken for the ack wait.
func TestSuiteUnderBackOff(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		const wait = 600 * time.Millisecond
		return suite(t, rigOn(t, s, s.JetStream(), jetstream.ConsumerConfig{AckWait: time.Hour, BackOff: []time.Duration{wait, wait}}))
	})
}
