package natsstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/natstest"
)

// Two consumers of one stream, each message published twice, and claims on the same
// server, which is killed in mid-traffic again and again. Every effect happens
// once, since nobody who has a lease dies.
func TestEffectsWhileTheServerIsKilled(t *testing.T) {
	t.Parallel()
	const messages, kills = 120, 2
	p := natstest.RunProcess(t)
	js := p.JetStream()
	bucket := newBucket(t, js, nil)
	consumer := natstest.Consumer(t, js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: -1})
	stream := consumer.CachedInfo().Stream
	for n := range 2 * messages {
		m := &nats.Msg{Subject: natstest.Subject(stream) + ".orders", Header: nats.Header{"Order": {fmt.Sprint(n / 2)}}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var effects [messages]atomic.Int32
	var happened atomic.Int32
	due := make(chan struct{}, kills)
	handler := func(_ context.Context, m *bus.Message) error {
		var n int
		if _, err := fmt.Sscan(m.Header["Order"][0], &n); err != nil {
			return err
		}
		effects[n].Add(1)
		if all := happened.Add(1); all%(messages/(kills+1)) == 0 && all <= messages*kills/(kills+1) {
			due <- struct{}{}
		}
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 {
		js := p.JetStream()
		d, err := dedupe.New(newStore(t, js, bucket), &dedupe.Options{
			Consumer: "orders", Key: dedupe.ByHeader("Order"), Logger: quiet, Lease: 5 * time.Second, ClaimTimeout: time.Second, CommitTimeout: time.Second,
			Backoff: func(int) time.Duration { return 10 * time.Millisecond },
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := natsbus.New(ctx, js, consumer, &natsbus.Options{Workers: 4, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := c.Consume(ctx, d.Wrap(handler)); err != nil {
				t.Error(err)
			}
			_ = d.Close(context.WithoutCancel(ctx))
		})
	}
	for range kills {
		<-due
		p.Kill()
		p.Restart()
	}
	for unsettled(t, consumer) > 0 {
		wait(t.Context(), 10*time.Millisecond, 20*time.Millisecond)
	}
	stop()
	running.Wait()
	for n := range effects {
		if times := effects[n].Load(); times != 1 {
			t.Errorf("message %d had %d effects, want 1", n, times)
		}
	}
}

// unsettled returns how many messages the consumer is not done with.
func unsettled(t *testing.T, consumer jetstream.Consumer) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	info, err := consumer.Info(ctx)
	if err != nil {
		return 1 // it is away
	}
	return info.NumPending + uint64(info.NumAckPending)
}
