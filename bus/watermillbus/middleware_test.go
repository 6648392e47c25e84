package watermillbus_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/watermillbus"
	"github.com/oncebus/once/dedupe"
)

// route runs a router with one handler of topic "orders" for as long as the test.
// It publishes to topic "charged" unless publishTopic is "".
func route(t *testing.T, g *gochannel.GoChannel, publishTopic string, h message.HandlerFunc, ms ...message.HandlerMiddleware) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	router.AddMiddleware(ms...)
	if publishTopic != "" {
		router.AddHandler("billing", "orders", g, publishTopic, g, h)
	} else {
		router.AddConsumerHandler("billing", "orders", g, func(msg *message.Message) error {
			_, err := h(msg)
			return err
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	<-router.Running()
	t.Cleanup(func() {
		if err := errors.Join(router.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
}

// failing returns a handler whose first run fails, and the number of its effects.
func failing() (message.HandlerFunc, *atomic.Int64) {
	var runs, effects atomic.Int64
	return func(*message.Message) ([]*message.Message, error) {
		if runs.Add(1) == 1 {
			return nil, errTest
		}
		effects.Add(1)
		return nil, nil
	}, &effects
}

func order() *message.Message { return message.NewMessage("order-7", []byte("two apples")) }

// Watermill's own Deduplicator remembers what it has seen, whether or not the
// handler succeeded; a Deduper remembers what is done.
func TestAMessageThatFailedOnce(t *testing.T) {
	d := deduper(t, dedupe.Options{Backoff: bus.Exponential(time.Millisecond, time.Millisecond)})
	for name, c := range map[string]struct {
		middleware message.HandlerMiddleware
		effects    int64
	}{
		"takes effect once":                 {watermillbus.Middleware(d.Wrap, nil), 1},
		"is lost by Watermill's middleware": {(&middleware.Deduplicator{}).Middleware, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, effects := failing()
			acked := make(chan struct{}, 1)
			around := func(next message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					produced, err := next(msg)
					if err == nil {
						acked <- struct{}{} // the router acks it next
					}
					return produced, err
				}
			}
			g := pubSub(t)
			route(t, g, "", h, around, c.middleware)
			send(t, g, "orders", order())
			<-acked
			if n := effects.Load(); n != c.effects {
				t.Errorf("%d effects, want %d", n, c.effects)
			}
			send(t, g, "orders", order())
			<-acked
			if n := effects.Load(); n != c.effects {
				t.Errorf("%d effects after a copy, want %d", n, c.effects)
			}
		})
	}
}

// call calls the middleware with h inside for msg, as a router does.
func call(wrap bus.Middleware, o *watermillbus.Options, h message.HandlerFunc, msg *message.Message) ([]*message.Message, error) {
	return watermillbus.Middleware(wrap, o)(h)(msg)
}

// answer returns a wrap of handlers that do not run.
func answer(err error) bus.Middleware {
	return func(bus.Handler) bus.Handler {
		return func(context.Context, *bus.Message) error { return err }
	}
}

func plain(h bus.Handler) bus.Handler { return h }

func TestSettlements(t *testing.T) {
	taken := func(context.Context, bus.DeadLetter) error { return nil }
	down := func(context.Context, bus.DeadLetter) error { return errors.New("sink is down") }
	for name, c := range map[string]struct {
		err      error
		rejected bus.DeadLetterSink
		acked    bool
		poison   bool
		hold     time.Duration
	}{
		"ack":                    {nil, nil, true, false, 0},
		"plain":                  {errTest, nil, false, false, 100 * time.Millisecond},
		"retry at once":          {bus.RetryAfter(errTest, 0), nil, false, false, 0},
		"retry":                  {bus.RetryAfter(errTest, 3*time.Second), nil, false, false, 3 * time.Second},
		"retry after too long":   {bus.RetryAfter(errTest, time.Hour), nil, false, false, 10 * time.Second},
		"abandon":                {bus.Abandon(errTest), nil, false, false, 100 * time.Millisecond},
		"reject":                 {bus.Reject(errTest), nil, false, true, 100 * time.Millisecond},
		"reject, sink":           {bus.Reject(errTest), taken, true, false, 0},
		"reject, sink is down":   {bus.Reject(errTest), down, false, false, 100 * time.Millisecond},
		"reject, stored already": {bus.Reject(errTest), watermillbus.Discard, true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				_, err := call(answer(c.err), &watermillbus.Options{Rejected: c.rejected}, nil, order())
				if held := time.Since(begun); held != c.hold {
					t.Errorf("held for %v, want %v", held, c.hold)
				}
				if (err == nil) != c.acked || err != nil && !errors.Is(err, errTest) || watermillbus.IsRejected(err) != c.poison {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestAHoldEndsWithTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun, msg := time.Now(), order()
		msg.SetContext(ctx)
		_, err := call(answer(bus.RetryAfter(errTest, time.Hour)), nil, nil, msg)
		if held := time.Since(begun); err == nil || held != time.Second {
			t.Errorf("held for %v: %v", held, err)
		}
	})
}

func TestPanicAndGoexit(t *testing.T) {
	_, err := call(plain, nil, func(*message.Message) ([]*message.Message, error) { panic("on purpose") }, order())
	if p := (*bus.PanicError)(nil); !errors.As(err, &p) {
		t.Errorf("a panic: %v", err)
	}
	msg, done := order(), make(chan struct{})
	go func() {
		defer close(done)
		_, _ = call(plain, nil, func(*message.Message) ([]*message.Message, error) { runtime.Goexit(); return nil, nil }, msg)
	}()
	<-done
	select {
	case <-msg.Nacked():
	default:
		t.Error("a goroutine that is gone leaves its message without a word")
	}
}

func TestTheHandlerSeesTheMessageAndTheContextOfTheWrap(t *testing.T) {
	type key struct{}
	var got bus.Message
	wrap := func(h bus.Handler) bus.Handler {
		return func(ctx context.Context, m *bus.Message) error {
			got = *m
			return h(context.WithValue(ctx, key{}, "inner"), m)
		}
	}
	msg := order()
	msg.Metadata.Set("trace", "t")
	msg.Metadata.Set("kind", "fruit")
	outer := msg.Context()
	_, err := call(wrap, nil, func(in *message.Message) ([]*message.Message, error) {
		if in != msg || in.Context().Value(key{}) != "inner" {
			t.Error("another message or context")
		}
		return nil, nil
	}, msg)
	if err != nil || msg.Context() != outer {
		t.Errorf("%v, context %v", err, msg.Context())
	}
	if got.ID != "order-7" || string(got.Data) != "two apples" || got.Header.Get("trace") != "t" || got.Header.Get("kind") != "fruit" ||
		len(got.Header) != 2 || got.Raw != msg || got.Delivery != 0 || got.KeepAlive != nil {
		t.Errorf("got %+v", got)
	}
}

// brittle is a publisher that fails until it is mended.
type brittle struct {
	message.Publisher
	works atomic.Bool
	tries atomic.Int64
}

func (b *brittle) Publish(topic string, msgs ...*message.Message) error {
	b.tries.Add(1)
	if !b.works.Swap(true) {
		return errors.New("the broker is away")
	}
	return b.Publisher.Publish(topic, msgs...)
}

// What was produced and not published comes again, although the handler succeeded.
func TestProducedMessagesArePublishedBeforeTheMessageIsDone(t *testing.T) {
	d := deduper(t, dedupe.Options{Backoff: bus.Exponential(time.Millisecond, time.Millisecond)})
	g := pubSub(t)
	charged := queueOf(t, g, "charged")
	publisher := &brittle{Publisher: g}
	var runs atomic.Int64
	route(t, g, "charged", func(msg *message.Message) ([]*message.Message, error) {
		runs.Add(1)
		return []*message.Message{message.NewMessage("charged-"+msg.UUID, msg.Payload)}, nil
	}, watermillbus.Middleware(d.Wrap, &watermillbus.Options{Publisher: publisher, Pause: time.Millisecond}))
	send(t, g, "orders", order())
	got := <-charged.messages
	got.Ack()
	if got.UUID != "charged-order-7" || runs.Load() != 2 || publisher.tries.Load() != 2 {
		t.Errorf("%s after %d runs", got.UUID, runs.Load())
	}
	other := message.NewMessage("order-8", nil)
	send(t, g, "orders", order(), other) // a duplicate produces nothing
	got = <-charged.messages
	got.Ack()
	if got.UUID != "charged-order-8" || publisher.tries.Load() != 3 {
		t.Errorf("%s after %d tries", got.UUID, publisher.tries.Load())
	}
}

func TestAHandlerThatPublishesNeedsAPublisher(t *testing.T) {
	g := pubSub(t)
	var ran atomic.Bool
	refused := make(chan error, 1)
	around := func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			produced, err := next(msg)
			select {
			case refused <- err:
			default:
			}
			return produced, err
		}
	}
	route(t, g, "charged", func(*message.Message) ([]*message.Message, error) {
		ran.Store(true)
		return nil, nil
	}, around, watermillbus.Middleware(plain, nil))
	send(t, g, "orders", order())
	if err := <-refused; !errors.Is(err, watermillbus.ErrNoPublisher) || ran.Load() {
		t.Errorf("ran: %t, %v", ran.Load(), err)
	}
	// Without a router there is no topic.
	_, err := call(plain, &watermillbus.Options{Publisher: g}, func(msg *message.Message) ([]*message.Message, error) {
		return []*message.Message{msg}, nil
	}, order())
	if !errors.Is(err, message.ErrOutputInNoPublisherHandler) {
		t.Errorf("got %v", err)
	}
}

func TestAStaleOwnerPublishesNothing(t *testing.T) {
	g := pubSub(t)
	lost := func(h bus.Handler) bus.Handler {
		return func(ctx context.Context, m *bus.Message) error {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(dedupe.ErrLeaseLost)
			return h(ctx, m)
		}
	}
	publisher := &brittle{Publisher: g}
	refused := make(chan error)
	first := true
	around := func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			_, err := next(msg)
			if first {
				first = false
				refused <- err
			}
			return nil, nil
		}
	}
	route(t, g, "charged", func(msg *message.Message) ([]*message.Message, error) { return []*message.Message{msg}, nil },
		around, watermillbus.Middleware(lost, &watermillbus.Options{Publisher: publisher}))
	send(t, g, "orders", order())
	if err := <-refused; !errors.Is(err, dedupe.ErrLeaseLost) || publisher.tries.Load() != 0 {
		t.Errorf("%d published, %v", publisher.tries.Load(), err)
	}
}

// A PoisonQueue around the middleware gets what is rejected, and only that.
func TestPoisonQueue(t *testing.T) {
	d := deduper(t, dedupe.Options{Backoff: bus.Exponential(time.Millisecond, time.Millisecond)})
	g := pubSub(t)
	dead := queueOf(t, g, "orders.dead")
	poison, err := middleware.PoisonQueueWithFilter(g, "orders.dead", watermillbus.IsRejected)
	if err != nil {
		t.Fatal(err)
	}
	var runs atomic.Int64
	route(t, g, "", func(*message.Message) ([]*message.Message, error) {
		if runs.Add(1) == 1 {
			return nil, errTest
		}
		return nil, dedupe.Permanent(errTest)
	}, poison, watermillbus.Middleware(d.Wrap, nil))
	send(t, g, "orders", order())
	msg := <-dead.messages
	msg.Ack()
	if reason := msg.Metadata.Get(middleware.ReasonForPoisonedKey); msg.UUID != "order-7" || runs.Load() != 2 || !strings.Contains(reason, errTest.Error()) {
		t.Errorf("%s after %d runs: %s", msg.UUID, runs.Load(), reason)
	}
}

func TestWrongOptionsPanicWithTheirName(t *testing.T) {
	for name, o := range map[string]watermillbus.Options{
		"MaxHold": {MaxHold: -1}, "Pause": {Pause: -1}, "Workers": {Workers: -1}, "DrainTimeout": {DrainTimeout: -1},
		"Pause is 2s": {Pause: 2 * time.Second, MaxHold: time.Second},
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "Options."+name) {
					t.Errorf("%s: %v", name, err)
				}
			}()
			watermillbus.Middleware(plain, &o)
		}()
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic for a nil wrap")
		}
	}()
	watermillbus.Middleware(nil, nil)
}
