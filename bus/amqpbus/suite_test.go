package amqpbus_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/testutil/amqptest"
	"github.com/oncebus/once/testutil/bustest"
)

// suite returns a bustest harness on r, whose queue is made.
func suite(t testing.TB, r *rig, retryQueue string) *bustest.Harness {
	const ackWait = 600 * time.Millisecond // of messages that were abandoned
	opts := amqpbus.Options{
		AbandonedAfter: ackWait,
		RetryQueue:     retryQueue,
		Backoff:        bus.Exponential(time.Millisecond, 100*time.Millisecond),
		DrainTimeout:   2 * ackWait,
	}
	r.open(t, opts)
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			m := amqp.Publishing{MessageId: id, Body: data, Headers: amqp.Table{}}
			for name, values := range header {
				all := make([]any, len(values))
				for i, v := range values {
					all[i] = v
				}
				m.Headers[name] = all
			}
			return r.client.Publish(ctx, "", r.queue, m)
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
		Subject:      r.queue,
		AckWait:      ackWait,
		DrainTimeout: opts.DrainTimeout,
		Features: bustest.Features{
			Header: true, PublisherID: true, Delivery: true, Redelivery: true, Delay: true, Reject: true,
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	addr := amqptest.Start(t).Addr
	client := dial(t, addr, nil)
	held, putOff := func(*rig) string { return "" }, func(r *rig) string { return r.queue + ".retry" }
	for name, c := range map[string]struct {
		queue *amqpbus.Queue
		retry func(*rig) string
	}{
		"quorum": {&amqpbus.Queue{}, putOff}, "classic": {classic(), held},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bustest.Run(t, func(t testing.TB) *bustest.Harness {
				r := &rig{node: amqptest.Start(t), client: client, queue: "test." + rand.Text(), about: c.queue}
				return suite(t, r, c.retry(r))
			})
		})
	}
}
