package amqpbus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/amqptest"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/netproxy"
)

var errBoom = errors.New("boom")

// effects are what handlers did.
type effects struct {
	mu  sync.Mutex
	ids map[string]int
}

func (e *effects) add(m *bus.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids == nil {
		e.ids = make(map[string]int)
	}
	e.ids[m.ID]++
}

// messages returns how many messages had an effect.
func (e *effects) messages() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.ids)
}

// once fails the test unless each of n messages had one effect.
func (e *effects) once(t *testing.T, n int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, times := range e.ids {
		if times != 1 {
			t.Errorf("message %s has %d effects", id, times)
		}
	}
	if len(e.ids) != n {
		t.Errorf("%d messages have an effect, want %d", len(e.ids), n)
	}
}

func newDeduper(t *testing.T, set func(*dedupe.Options)) *dedupe.Deduper {
	t.Helper()
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &dedupe.Options{
		Consumer: "billing", Lease: 2 * time.Second, Logger: quiet,
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	}
	if set != nil {
		set(o)
	}
	d, err := dedupe.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("message ", i))
	}
	return all
}

// The connection breaks again and again while handlers run. What they did is done
// once, and every message leaves the queue.
func TestConnectionsThatBreakRepeatNothing(t *testing.T) {
	t.Parallel()
	proxy := netproxy.New(t, amqptest.Start(t).Addr)
	r := rigAt(t, proxy.Addr(), &amqpbus.Queue{})
	c := r.open(t, amqpbus.Options{Workers: 4})
	const messages = 40
	past := rigAt(t, r.node.Addr, &amqpbus.Queue{})
	past.queue = r.queue
	past.publish(t, names(messages)...)
	var did effects
	var runs atomic.Int64
	handler := newDeduper(t, nil).Wrap(func(_ context.Context, m *bus.Message) error {
		if runs.Add(1)%10 == 5 {
			proxy.Cut()
		}
		did.add(m)
		return nil
	})
	stop := consume(t, c, handler)
	bustest.Until(t, "all messages", func() bool { return did.messages() == messages })
	stop()
	// The last acks may have been lost with their connections.
	stop = consume(t, past.open(t, amqpbus.Options{}), handler)
	r.has(t, r.queue, 0)
	stop()
	r.has(t, r.queue, 0)
	did.once(t, messages)
	if s := c.Stats(); s.Reopened == 0 || s.Unsettled == 0 {
		t.Errorf("%+v: no channel was lost in the middle of a handler", s)
	}
}

// Tags begin at 1 on every channel: the ack of a lost channel would hit the message
// that has the tag on the next one.
func TestATagOfALostChannelIsNeverSettled(t *testing.T) {
	t.Parallel()
	for name, settlement := range map[string]error{
		"ack": nil, "reject": bus.Reject(errBoom), "retry": errBoom, "abandon": bus.Abandon(errBoom),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := netproxy.New(t, amqptest.Start(t).Addr)
			r := rigAt(t, proxy.Addr(), classic())
			c := r.open(t, amqpbus.Options{Workers: 2})
			r.publish(t, "contended")
			var runs atomic.Int64
			first, second, goOn, stay := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
			stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
				if runs.Add(1) == 1 {
					close(first)
					<-goOn
					return settlement
				}
				if m.Delivery < 2 {
					t.Errorf("delivery %d of a message that came again", m.Delivery)
				}
				close(second)
				<-stay
				return bus.RetryAfter(errBoom, time.Minute)
			})
			bustest.Within(t, first, "the first delivery")
			proxy.Cut()
			bustest.Within(t, second, "the second delivery")
			close(goOn)
			bustest.Until(t, "the first owner's word to be counted as unsettled", func() bool { return c.Stats().Unsettled == 1 })
			close(stay)
			bustest.Until(t, "the second owner's word", func() bool { return c.Stats().Retried >= 1 })
			stop()
			r.has(t, r.queue, 1)
		})
	}
}

// A handler acks by itself, and the consumer again: the server closes the channel for
// an unknown tag. All other messages of the channel come again.
func TestAChannelThatTheServerClosesIsOpenedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{Workers: 2})
	const messages = 10
	r.publish(t, names(messages)...)
	var did effects
	var meddled atomic.Bool
	stop := consume(t, c, newDeduper(t, nil).Wrap(func(_ context.Context, m *bus.Message) error {
		if meddled.CompareAndSwap(false, true) {
			if err := m.Raw.(*amqp.Delivery).Ack(false); err != nil {
				t.Error(err)
			}
		}
		did.add(m)
		return nil
	}))
	bustest.Until(t, "all messages", func() bool { return did.messages() == messages })
	bustest.Until(t, "another channel", func() bool { return c.Stats().Reopened == 1 })
	r.has(t, r.queue, 0)
	stop()
	did.once(t, messages)
	r.has(t, r.queue, 0)
}

// The server gives up on a delivery that is not settled in its time. The handler's
// effect is kept, and the copy is a duplicate.
func TestADeliveryThatTimesOutAtTheServer(t *testing.T) {
	r := newRig(t)
	timeout := func(d time.Duration) {
		t.Helper()
		if _, err := r.node.Eval(t.Context(), fmt.Sprintf("application:set_env(rabbit, consumer_timeout, %d).", d.Milliseconds())); err != nil {
			t.Fatal(err)
		}
	}
	timeout(300 * time.Millisecond)
	defer timeout(30 * time.Minute)
	c := r.open(t, amqpbus.Options{Workers: 2})
	r.publish(t, "slow")
	d := newDeduper(t, nil)
	var did effects
	again := make(chan struct{})
	stop := consume(t, c, func(ctx context.Context, m *bus.Message) error {
		if m.Delivery > 1 {
			select {
			case <-again:
			default:
				close(again)
			}
		}
		return d.Wrap(func(_ context.Context, m *bus.Message) error {
			bustest.Within(t, again, "the second delivery")
			did.add(m)
			return nil
		})(ctx, m)
	})
	bustest.Until(t, "the second delivery to be acked", func() bool { return c.Stats().Acked == 1 })
	stop()
	did.once(t, 1)
	if s := c.Stats(); s.Unsettled == 0 || s.Reopened == 0 {
		t.Errorf("%+v: the server took the slow delivery back, and nobody noticed", s)
	}
	r.has(t, r.queue, 0)
}

// The broker is restarted while messages are handled and others wait.
func TestABrokerThatIsRestartedLosesNothing(t *testing.T) {
	for name, q := range map[string]*amqpbus.Queue{"quorum": {}, "classic": classic()} {
		t.Run(name, func(t *testing.T) {
			r := rigAt(t, amqptest.Start(t).Addr, q)
			c := r.open(t, amqpbus.Options{Workers: 2})
			const messages = 20
			r.publish(t, names(messages)...)
			var did effects
			running, restarted := make(chan struct{}, messages), make(chan struct{})
			stop := consume(t, c, newDeduper(t, nil).Wrap(func(_ context.Context, m *bus.Message) error {
				running <- struct{}{}
				<-restarted
				did.add(m)
				return nil
			}))
			bustest.Within(t, running, "a handler")
			if err := r.node.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(restarted)
			bustest.Until(t, "all messages", func() bool { return did.messages() == messages })
			r.has(t, r.queue, 0)
			stop()
			did.once(t, messages)
			r.has(t, r.queue, 0)
		})
	}
}

// However many messages wait, a consumer is given no more than it may have.
func TestPrefetchBoundsWhatIsHere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{Workers: 3, MaxHeld: 4})
	const messages = 30
	r.publish(t, names(messages)...)
	var running atomic.Int64
	finish := make(chan struct{})
	stop := consume(t, c, func(context.Context, *bus.Message) error {
		running.Add(1)
		<-finish
		return nil
	})
	bustest.Until(t, "all workers", func() bool { return running.Load() == 3 })
	bustest.Until(t, "all places to be taken", func() bool { return r.ready(t, r.queue) <= messages-7 })
	r.has(t, r.queue, messages-7)
	close(finish)
	bustest.Until(t, "all messages", func() bool { return c.Stats().Acked == messages })
	stop()
}

// While as many are held as may be, nothing else comes; those behind them come when
// a delay is over.
func TestWhatIsHeldTakesAPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{Workers: 1, MaxHeld: 2})
	r.publish(t, "a", "b", "c", "d")
	var mu sync.Mutex
	var order []string
	const delay = 300 * time.Millisecond
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, fmt.Sprint(m.ID, m.Delivery))
		if m.ID != "d" && m.Delivery == 1 {
			return bus.RetryAfter(errBoom, delay)
		}
		return nil
	})
	bustest.Until(t, "all messages", func() bool { return c.Stats().Acked == 4 })
	stop()
	if len(order) != 7 || fmt.Sprint(order[:3]) != "[a1 b1 c1]" || order[3] == "d1" {
		t.Errorf("handled in the order %v", order)
	}
	if s := c.Stats(); s.Delivered != 7 || s.Retried != 3 || s.GivenBack != 0 {
		t.Errorf("%+v", s)
	}
}

// A retry that is due after HoldFor comes earlier, from the queue.
func TestAMessageIsNotHeldForTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{Workers: 1, HoldFor: 200 * time.Millisecond})
	r.publish(t, "a")
	var first time.Time
	took := make(chan time.Duration, 1)
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		if m.Delivery == 1 {
			first = time.Now()
			return bus.RetryAfter(errBoom, time.Hour)
		}
		took <- time.Since(first)
		return nil
	})
	if d := bustest.Within(t, took, "the message to come again"); d < 150*time.Millisecond {
		t.Errorf("came again after %v", d)
	}
	stop()
	if s := c.Stats(); s.GivenBack != 1 {
		t.Errorf("%+v", s)
	}
}

// A consumer that stops gives back what it holds.
func TestStoppingGivesBackWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{Workers: 2})
	r.publish(t, names(10)...)
	stop := consume(t, c, func(context.Context, *bus.Message) error { return bus.RetryAfter(errBoom, time.Hour) })
	bustest.Until(t, "all places to be taken", func() bool { return c.Stats().Retried == 4 })
	stop()
	r.has(t, r.queue, 10)
	if s := c.Stats(); s.GivenBack != 4 || s.Dropped != 0 || s.Unsettled != 0 {
		t.Errorf("%+v", s)
	}
}

// A quorum queue counts deliveries also when their channel was lost.
func TestDeliveriesAreCountedOverLostChannels(t *testing.T) {
	t.Parallel()
	proxy := netproxy.New(t, amqptest.Start(t).Addr)
	r := rigAt(t, proxy.Addr(), &amqpbus.Queue{})
	c := r.open(t, amqpbus.Options{Workers: 1})
	r.publish(t, "a")
	numbers := make(chan int, 10)
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		numbers <- m.Delivery
		if m.Delivery < 4 {
			proxy.Cut()
			return errBoom
		}
		return nil
	})
	for want := 1; want <= 4; want++ {
		if n := bustest.Within(t, numbers, "a delivery"); n != want {
			t.Errorf("delivery %d says that it is number %d", want, n)
		}
	}
	stop()
}
