package natsbus_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

// viaHandler consumes through the client's own Consume, one callback for each
// worker.
func viaHandler(r *rig, t testing.TB) func(ctx context.Context, h bus.Handler, workers int) error {
	return func(ctx context.Context, h bus.Handler, workers int) error {
		if ctx.Err() != nil {
			return nil
		}
		c := r.open(t, &natsbus.Options{Places: true, Backoff: bus.Exponential(time.Millisecond, 100*time.Millisecond)})
		var running []jetstream.ConsumeContext
		for range workers {
			cc, err := r.cons.Consume(c.Handler(context.WithoutCancel(ctx), h), jetstream.PullMaxMessages(1))
			if err != nil {
				return err
			}
			running = append(running, cc)
		}
		<-ctx.Done()
		for _, cc := range running {
			cc.Drain()
		}
		for _, cc := range running {
			<-cc.Closed()
		}
		return nil
	}
}

func TestSuiteThroughTheClientsConsume(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	bustest.Run(t, func(t testing.TB) *bustest.Harness {
		r := rigOn(t, s, s.JetStream(), jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond})
		h := suite(t, r)
		h.Consume = viaHandler(r, t)
		h.ConsumeBatch = nil
		h.DrainTimeout = 0 // the context is the caller's
		return h
	})
}

func TestAHandlerThatEndsItsGoroutineDoesNotEndTheClients(t *testing.T) {
	r := newRig(t, jetstream.ConsumerConfig{})
	c := r.open(t, nil)
	got := make(chan int, 4)
	cc, err := r.cons.Consume(c.Handler(t.Context(), func(_ context.Context, m *bus.Message) error {
		got <- m.Delivery
		if m.Delivery == 1 {
			runtime.Goexit()
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	r.publish(t, "m")
	bustest.Within(t, got, "the first delivery")
	if n := bustest.Within(t, got, "the second delivery"); n != 2 {
		t.Errorf("delivery %d", n)
	}
	cc.Drain()
	bustest.Within(t, cc.Closed(), "the client to stop")
	if s := c.Stats(); s.Retried != 1 || s.Acked != 1 {
		t.Errorf("%+v", s)
	}
}
