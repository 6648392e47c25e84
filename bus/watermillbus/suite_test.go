package watermillbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/watermillbus"
	"github.com/oncebus/once/testutil/bustest"
)

// A pub/sub in memory has no timer that brings back what nobody settles, and no
// positions; and metadata has one value a key.
func TestSuite(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		const ackWait = 300 * time.Millisecond
		g := pubSub(t)
		q := queueOf(t, g, "suite")
		return &bustest.Harness{
			Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
				return g.Publish("suite", message.NewMessage(id, data))
			},
			Consume: func(ctx context.Context, h bus.Handler, workers int) error {
				return watermillbus.Consume(ctx, q, "suite", h, &watermillbus.Options{
					Workers: workers, Pause: 10 * time.Millisecond, DrainTimeout: 2 * ackWait,
				})
			},
			Subject:      "suite",
			AckWait:      ackWait,
			DrainTimeout: 2 * ackWait,
			Features:     bustest.Features{PublisherID: true, Delay: true, Reject: true},
		}
	})
}
