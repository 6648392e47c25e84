package watermillbus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/watermillbus"
	"github.com/oncebus/once/dedupe"
)

// source is a subscriber that hands out what it is sent and never a second time.
type source chan *message.Message

func (s source) Subscribe(context.Context, string) (<-chan *message.Message, error) { return s, nil }
func (source) Close() error                                                         { return nil }

func TestConsumeThroughADeduper(t *testing.T) {
	d := deduper(t, dedupe.Options{Backoff: bus.Exponential(time.Millisecond, 2*time.Millisecond)})
	g := pubSub(t)
	q := queueOf(t, g, "orders")
	var mu sync.Mutex
	runs, effects := map[string]int{}, map[string]int{}
	var settled sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	charge := d.Wrap(func(_ context.Context, m *bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if runs[m.ID]++; runs[m.ID] == 1 && len(m.ID)%2 == 0 {
			return errTest
		}
		effects[m.ID]++
		return nil
	})
	for range 2 {
		consumers.Go(func() {
			err := watermillbus.Consume(ctx, q, "orders", func(ctx context.Context, m *bus.Message) error {
				err := charge(ctx, m)
				if err == nil {
					settled.Done()
				}
				return err
			}, nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	const n = 200
	settled.Add(2 * n)
	for range 2 {
		for i := range n {
			send(t, g, "orders", message.NewMessage(fmt.Sprint("order-", i), nil))
		}
	}
	settled.Wait()
	stop()
	consumers.Wait()
	for id, n := range effects {
		if n != 1 {
			t.Errorf("%s: %d effects", id, n)
		}
	}
	if len(effects) != n {
		t.Errorf("%d orders took effect, want %d", len(effects), n)
	}
}

// consume runs Consume of s until the message is settled, and returns how.
func consume(t *testing.T, h bus.Handler, o *watermillbus.Options) (acked bool, held time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s, ended := make(source), make(chan error, 1)
	go func() { ended <- watermillbus.Consume(ctx, s, "orders", h, o) }()
	msg, begun := order(), time.Now()
	s <- msg
	select {
	case <-msg.Acked():
		acked = true
	case <-msg.Nacked():
	}
	held = time.Since(begun)
	stop()
	close(s)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return acked, held
}

func TestRejectedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reject := func(context.Context, *bus.Message) error { return bus.Reject(errTest) }
		var log strings.Builder
		if acked, _ := consume(t, reject, &watermillbus.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}); !acked {
			t.Error("without a sink it comes for ever")
		}
		if !strings.Contains(log.String(), "rejected") || strings.Contains(log.String(), "order-7") {
			t.Error(log.String())
		}
		var got bus.DeadLetter
		if acked, _ := consume(t, reject, &watermillbus.Options{Rejected: func(_ context.Context, d bus.DeadLetter) error { got = d; return nil }}); !acked {
			t.Error("not acked after the sink has it")
		}
		if got.Consumer != "orders" || got.Message.ID != "order-7" || got.ID == "" || !strings.Contains(got.Reason, errTest.Error()) {
			t.Errorf("%+v", got)
		}
		for name, sink := range map[string]bus.DeadLetterSink{
			"fails":  func(context.Context, bus.DeadLetter) error { return errTest },
			"panics": func(context.Context, bus.DeadLetter) error { panic("on purpose") },
		} {
			if acked, held := consume(t, reject, &watermillbus.Options{Rejected: sink}); acked || held != 100*time.Millisecond {
				t.Errorf("a sink that %s: acked %t after %v", name, acked, held)
			}
		}
	})
}

func TestANackThatIsHeldBackTakesNoWorkerAndEndsWithConsume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s, ended := make(source), make(chan error, 1)
		go func() {
			ended <- watermillbus.Consume(ctx, s, "orders", func(_ context.Context, m *bus.Message) error {
				return bus.RetryAfter(errTest, time.Minute)
			}, &watermillbus.Options{Workers: 1, MaxHold: time.Hour})
		}()
		one, two, begun := order(), order(), time.Now()
		s <- one
		s <- two
		synctest.Wait()
		stop()
		<-one.Nacked()
		<-two.Nacked()
		left := order()
		s <- left // as a subscriber may that has not heard yet
		<-left.Nacked()
		close(s)
		if err := <-ended; err != nil || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// Not every subscriber gives its messages the context of the subscription.
func TestHandlersLoseTheirContextAtTheDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s, ended := make(source), make(chan error, 1)
		go func() {
			ended <- watermillbus.Consume(ctx, s, "orders", func(ctx context.Context, _ *bus.Message) error {
				stop()
				<-ctx.Done()
				return context.Cause(ctx)
			}, &watermillbus.Options{DrainTimeout: time.Second})
		}()
		msg, begun := order(), time.Now()
		s <- msg
		<-msg.Nacked()
		close(s)
		if err := <-ended; err != nil || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestASubscriptionThatEndsIsTold(t *testing.T) {
	s := make(source)
	close(s)
	if err := watermillbus.Consume(t.Context(), s, "orders", plainHandler, nil); !errors.Is(err, watermillbus.ErrSubscriptionEnded) {
		t.Errorf("got %v", err)
	}
}

func TestASubscriberThatKeepsItsChannelOpenIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := watermillbus.Consume(ctx, make(source), "orders", plainHandler, nil); err != nil {
			t.Error(err)
		}
	})
}

type deaf struct{ source }

func (deaf) Subscribe(context.Context, string) (<-chan *message.Message, error) { return nil, errTest }

func plainHandler(context.Context, *bus.Message) error { return nil }

func TestConsumeRefuses(t *testing.T) {
	if err := watermillbus.Consume(t.Context(), deaf{}, "orders", plainHandler, nil); !errors.Is(err, errTest) {
		t.Errorf("a subscriber that fails: %v", err)
	}
	if err := watermillbus.Consume(t.Context(), nil, "orders", plainHandler, nil); err == nil {
		t.Error("no error for a nil subscriber")
	}
	if err := watermillbus.Consume(t.Context(), make(source), "orders", nil, nil); err == nil {
		t.Error("no error for a nil handler")
	}
	if err := watermillbus.Consume(t.Context(), make(source), "orders", plainHandler, &watermillbus.Options{MaxHold: -1}); err == nil || !strings.Contains(err.Error(), "Options.MaxHold") {
		t.Errorf("got %v", err)
	}
}

func TestDeadLetter(t *testing.T) {
	g := pubSub(t)
	dead := queueOf(t, g, "dead")
	sink, err := watermillbus.DeadLetter(g, "dead")
	if err != nil {
		t.Fatal(err)
	}
	m := &bus.Message{ID: "order-7", Subject: "orders", Data: []byte("two apples"), Header: bus.Header{"k": {"v"}, "once-original-entry": {"of an earlier one"}}}
	if err := sink(t.Context(), bus.DeadLetter{Message: m, ID: "dead.1", Consumer: "billing", Reason: "no apples", Attempt: 3}); err != nil {
		t.Fatal(err)
	}
	got := <-dead.messages
	got.Ack()
	want := message.NewMessage("order-7", []byte("two apples"))
	want.Metadata = message.Metadata{
		"k": "v", watermillbus.MetadataDeadLetterID: "dead.1", watermillbus.MetadataReason: "no apples",
		watermillbus.MetadataConsumer: "billing", watermillbus.MetadataAttempt: "3", watermillbus.MetadataOriginalTopic: "orders",
	}
	if !got.Equals(want) {
		t.Errorf("got %v %v", got, got.Metadata)
	}
	if _, err := watermillbus.DeadLetter(nil, "dead"); err == nil {
		t.Error("no error for a nil publisher")
	}
	if _, err := watermillbus.DeadLetter(g, ""); err == nil {
		t.Error("no error for an empty topic")
	}
}
