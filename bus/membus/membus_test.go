package membus_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/membus"
	"github.com/oncebus/once/testutil/bustest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "64") // tests wait and hardly compute
	goleak.VerifyTestMain(m)
}

var errTest = errors.New("handler failed on purpose")

// suite returns a bustest harness of a Bus.
func suite(t testing.TB) *bustest.Harness {
	const ackWait = 300 * time.Millisecond
	b := open(t, membus.Options{AckWait: ackWait, Backoff: bus.Exponential(time.Millisecond, 10*time.Millisecond)})
	opts := func(workers, size int) *membus.ConsumeOptions {
		return &membus.ConsumeOptions{Workers: workers, BatchSize: size, DrainTimeout: 2 * ackWait}
	}
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			return b.Publish(ctx, bus.Message{ID: id, Subject: "suite", Header: header, Data: data})
		},
		Consume: func(ctx context.Context, h bus.Handler, workers int) error {
			return b.Consume(ctx, h, opts(workers, 0))
		},
		ConsumeBatch: func(ctx context.Context, h bus.BatchHandler, size int) error {
			return b.ConsumeBatch(ctx, h, opts(1, size))
		},
		Subject:      "suite",
		AckWait:      ackWait,
		DrainTimeout: 2 * ackWait,
		Features:     bustest.All(),
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	bustest.Run(t, suite)
}

// On a bubble's clock the suite takes no time, and a goroutine that is left over
// is a failure.
func TestSuiteOnAVirtualClock(t *testing.T) {
	for _, c := range bustest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, suite(t)) })
		})
	}
}

func open(t testing.TB, o membus.Options) *membus.Bus {
	t.Helper()
	b, err := membus.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// consume runs b.Consume for as long as the test.
func consume(t *testing.T, b *membus.Bus, h bus.Handler) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Consume(ctx, h, &membus.ConsumeOptions{Workers: 4}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func publish(t *testing.T, b *membus.Bus, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publish(t.Context(), bus.Message{ID: id, Data: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMaxDeliverDropsWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{MaxDeliver: 3})
		consume(t, b, func(_ context.Context, m *bus.Message) error {
			switch m.ID {
			case "abandoned":
				return bus.Abandon(errTest)
			case "retried":
				return bus.RetryAfter(errTest, time.Second)
			}
			return errTest
		})
		publish(t, b, "abandoned", "retried", "failed")
		if err := b.Drained(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.Dropped != 3 || s.Delivered != 9 || s.Abandoned != 3 || s.Retried != 6 || s.Expired != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAStaleAckRemovesTheMessageOfItsNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{})
		second := make(chan struct{})
		consume(t, b, func(ctx context.Context, m *bus.Message) error {
			if m.Delivery == 1 {
				<-second
				return nil // too late, and accepted all the same
			}
			close(second)
			synctest.Wait()
			if n := b.Pending(); n != 0 {
				t.Errorf("%d pending while the second owner works", n)
			}
			if err := m.KeepAlive(ctx); err != nil {
				t.Error(err)
			}
			return errTest // nothing is left to be retried
		})
		publish(t, b, "m")
		<-second
		<-time.After(time.Second) // of the bubble
		if s := b.Stats(); s.Delivered != 2 || s.Acked != 1 || s.Stale != 1 || s.Retried != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAStaleRetryStartsAThirdDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{})
		second, third := make(chan struct{}), make(chan struct{})
		consume(t, b, func(ctx context.Context, m *bus.Message) error {
			switch m.Delivery {
			case 1:
				<-second
				return bus.RetryAfter(errTest, 0)
			case 2:
				close(second)
				<-third // works on
			case 3:
				close(third)
			}
			return nil
		})
		start := time.Now()
		publish(t, b, "m")
		<-third
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("the third delivery came after %v, want one ack wait", took)
		}
	})
}

func TestPublishWaitsWhileTheBusIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{Limit: 2})
		publish(t, b, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Publish(ctx, bus.Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a full bus: %v", err)
		}
		var published atomic.Bool
		go func() {
			publish(t, b, "c")
			published.Store(true)
		}()
		synctest.Wait()
		if published.Load() {
			t.Fatal("Publish did not wait")
		}
		consume(t, b, func(context.Context, *bus.Message) error { return nil })
		synctest.Wait()
		if !published.Load() || b.Pending() != 0 {
			t.Errorf("published %t, %d pending", published.Load(), b.Pending())
		}
	})
}

func TestPublishCopies(t *testing.T) {
	b := open(t, membus.Options{})
	m := bus.Message{ID: "m", Header: bus.Header{"K": {"v"}}, Data: []byte("data"), Delivery: 9, Position: "mine", Published: time.Unix(7, 0)}
	if err := b.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m.Header["K"][0], m.Data[0] = "changed", 'X'
	got := make(chan bus.Message, 1)
	consume(t, b, func(_ context.Context, m *bus.Message) error { got <- *m; return nil })
	g := <-got
	if g.Header.Get("K") != "v" || string(g.Data) != "data" || g.Delivery != 1 || g.Position == "mine" || !g.Published.Equal(time.Unix(7, 0)) {
		t.Errorf("got %+v", g)
	}
}

func TestTwoBusesHaveNoPositionInCommon(t *testing.T) {
	seen := make(map[string]bool)
	for range 2 {
		b := open(t, membus.Options{})
		publish(t, b, "m")
		got := make(chan string, 1)
		consume(t, b, func(_ context.Context, m *bus.Message) error { got <- m.Position; return nil })
		seen[<-got] = true
	}
	if len(seen) != 2 {
		t.Errorf("positions %v", seen)
	}
}

func TestConsumersShareTheMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{})
		var handled atomic.Int64
		for range 3 {
			consume(t, b, func(context.Context, *bus.Message) error { handled.Add(1); return nil })
		}
		for i := range 100 {
			publish(t, b, fmt.Sprint(i))
		}
		if err := b.Drained(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := handled.Load(); n != 100 {
			t.Errorf("%d handled, want 100", n)
		}
	})
}

func TestDrainedEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{})
		publish(t, b, "m")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errTest)
		defer cancel()
		if err := b.Drained(ctx); !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAHandlerThatNeverReturnsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, membus.Options{})
		publish(t, b, "m")
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		err := b.Consume(ctx, func(context.Context, *bus.Message) error {
			cancel()
			<-release // deaf to its context
			return nil
		}, &membus.ConsumeOptions{DrainTimeout: time.Second})
		if !errors.Is(err, bus.ErrDrainTimeout) {
			t.Errorf("Consume returned %v", err)
		}
		close(release)
		if err := b.Drained(t.Context()); err != nil { // it still settles
			t.Error(err)
		}
	})
}

func TestRedelivery(t *testing.T) {
	b := open(t, membus.Options{AckWait: time.Minute, MaxDeliver: 5})
	if got, want := b.Redelivery(), (bus.Redelivery{AckWait: time.Minute, MaxDeliver: 5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for name, o := range map[string]membus.Options{"AckWait": {AckWait: -1}, "MaxDeliver": {MaxDeliver: -1}, "Limit": {Limit: -1}} {
		if _, err := membus.New(&o); err == nil || !strings.Contains(err.Error(), "Options."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := open(t, membus.Options{})
	nop := func(context.Context, *bus.Message) error { return nil }
	for name, o := range map[string]membus.ConsumeOptions{"Workers": {Workers: -1}, "BatchSize": {BatchSize: -1}, "DrainTimeout": {DrainTimeout: -1}} {
		if err := b.Consume(t.Context(), nop, &o); err == nil || !strings.Contains(err.Error(), "ConsumeOptions."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Consume(t.Context(), nil, nil); err == nil {
		t.Error("no error for a nil handler")
	}
	if err := b.ConsumeBatch(t.Context(), nil, nil); err == nil {
		t.Error("no error for a nil batch handler")
	}
}

func BenchmarkConsume(b *testing.B) {
	q, err := membus.New(&membus.Options{Limit: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	m := bus.Message{ID: "id", Subject: "bench", Data: []byte("payload")}
	for range b.N {
		if err := q.Publish(ctx, m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var n atomic.Int64
	if err := q.Consume(ctx, func(context.Context, *bus.Message) error {
		if n.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	}, nil); err != nil {
		b.Fatal(err)
	}
}
