package kafkabus_test

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/testutil/bustest"
)

// lanes is how many workers a case has that wants all of them to work at once.
const lanes = 4

// inLane returns a key for one of so many lanes.
func inLane(lane int) []byte {
	for {
		if key := []byte(rand.Text()); kafkabus.LaneOf(key, lanes) == lane {
			return key
		}
	}
}

// suite returns a harness on a topic with one partition. What is abandoned comes
// again after the ack wait.
func suite(t testing.TB, tp *topic, order kafkabus.Order) *bustest.Harness {
	const ackWait = 600 * time.Millisecond
	open := func(workers, size int) *kafkabus.Consumer {
		o := &kafkabus.Options{
			Order: order, Concurrency: workers, BatchSize: size, AbandonedAfter: ackWait, DrainTimeout: 2 * ackWait,
			Backoff: bus.Exponential(time.Millisecond, 100*time.Millisecond), CommitInterval: 50 * time.Millisecond,
		}
		return tp.open(t, o)
	}
	var published atomic.Int64
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			r := &kgo.Record{Value: data, Key: inLane(int(published.Add(1)) % lanes)}
			if id != "" {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: "id", Value: []byte(id)})
			}
			for name, values := range header {
				for _, v := range values {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(v)})
				}
			}
			return tp.producer.ProduceSync(ctx, r).FirstErr()
		},
		Consume: func(ctx context.Context, h bus.Handler, workers int) error {
			c := open(workers, 1)
			defer c.Close()
			return c.Consume(ctx, h)
		},
		ConsumeBatch: func(ctx context.Context, h bus.BatchHandler, size int) error {
			c := open(1, size)
			defer c.Close()
			return c.ConsumeBatch(ctx, h)
		},
		Subject:      tp.name,
		AckWait:      ackWait,
		DrainTimeout: 2 * ackWait,
		Features: bustest.Features{
			Header: true, PublisherID: true, Position: true, Place: true, Delivery: true,
			Redelivery: true, Delay: true, Reject: true,
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	clusters(t, func(t *testing.T, c *cluster) {
		bustest.Run(t, func(t testing.TB) *bustest.Harness { return suite(t, c.topic(t, 1), kafkabus.Unordered) })
	})
}

func TestSuiteByKey(t *testing.T) {
	t.Parallel()
	clusters(t, func(t *testing.T, c *cluster) {
		bustest.Run(t, func(t testing.TB) *bustest.Harness { return suite(t, c.topic(t, 1), kafkabus.ByKey) })
	})
}
