package redisbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/redistest"
)

// suite returns a bustest harness on r.
func suite(t testing.TB, r *rig) *bustest.Harness {
	const ackWait = suiteIdle
	opts := redisbus.Options{
		MinIdle:      ackWait,
		Backoff:      bus.Exponential(time.Millisecond, 100*time.Millisecond),
		DrainTimeout: 2 * ackWait,
	}
	publisher, err := redisbus.NewPublisher(r.client, r.stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			return publisher.Publish(ctx, bus.Message{ID: id, Header: header, Data: data})
		},
		Consume: func(ctx context.Context, h bus.Handler, workers int) error {
			o := opts
			o.Workers = workers
			return r.open(t, o).Consume(ctx, h)
		},
		ConsumeBatch: func(ctx context.Context, h bus.BatchHandler, size int) error {
			o := opts
			o.BatchSize = size
			return r.open(t, o).ConsumeBatch(ctx, h)
		},
		Subject:      r.stream,
		AckWait:      ackWait,
		DrainTimeout: opts.DrainTimeout,
		Features: bustest.Features{
			Header: true, PublisherID: true, Position: true, Delivery: true,
			Redelivery: true, Delay: true, Reject: true, KeepAlive: true,
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client()
	bustest.Run(t, func(t testing.TB) *bustest.Harness { return suite(t, rigOn(client, s.Prefix)) })
}

func TestSuiteOnMiniredis(t *testing.T) {
	t.Parallel()
	if underRace {
		t.Skip("a Lua machine for every script call is too slow with the race detector; TestSuite runs the same code")
	}
	bustest.Run(t, func(t testing.TB) *bustest.Harness { return suite(t, newMini(t)) })
}
