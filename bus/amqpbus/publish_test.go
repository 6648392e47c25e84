package amqpbus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/amqptest"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/netproxy"
)

// makeQueue makes a queue beside the rig's.
func (r *rig) makeQueue(t testing.TB, name string, args amqp.Table) {
	t.Helper()
	if err := r.on(t, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) deleteQueue(t testing.TB, name string) {
	t.Helper()
	if err := r.on(t, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// get takes the first message of a queue.
func (r *rig) get(t testing.TB, queue string) (d amqp.Delivery) {
	t.Helper()
	if err := r.on(t, func(ch *amqp.Channel) error {
		var ok bool
		var err error
		d, ok, err = ch.Get(queue, true)
		if err == nil && !ok {
			err = errors.New("the queue is empty")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPublishTellsWhatBecameOfAMessage(t *testing.T) {
	t.Parallel()
	r := rigAt(t, amqptest.Start(t).Addr, classic())
	r.makeQueue(t, r.queue, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	ctx, m := t.Context(), amqp.Publishing{MessageId: "7", Body: []byte("body")}
	if err := r.client.Publish(ctx, "", r.queue, m); err != nil {
		t.Errorf("a message: %v", err)
	}
	if err := r.client.Publish(ctx, "", r.queue+".none", m); !errors.Is(err, amqpbus.ErrUnroutable) {
		t.Errorf("a queue that does not exist: %v", err)
	}
	if err := r.client.Publish(ctx, "no.exchange", "key", m); !errors.Is(err, amqpbus.ErrUnroutable) {
		t.Errorf("an exchange that does not exist: %v", err)
	}
	if err := r.client.Publish(ctx, "", r.queue, m); !errors.Is(err, amqpbus.ErrNotConfirmed) {
		t.Errorf("a queue that is full: %v", err)
	}
	if d := r.get(t, r.queue); d.DeliveryMode != amqp.Persistent || d.MessageId != "7" {
		t.Errorf("delivery mode %d, id %q", d.DeliveryMode, d.MessageId)
	}
	if err := r.client.Publish(ctx, "", r.queue, amqp.Publishing{DeliveryMode: amqp.Transient}); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if d := r.get(t, r.queue); d.DeliveryMode != amqp.Transient {
		t.Errorf("delivery mode %d", d.DeliveryMode)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := r.client.Publish(ended, "", r.queue, m); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := r.client.Close(); err != nil {
		t.Error(err)
	}
	if err := r.client.Publish(ctx, "", r.queue, m); !errors.Is(err, amqpbus.ErrClosed) {
		t.Errorf("a client that is closed: %v", err)
	}
}

// Whatever a connection that breaks does to a message, Publish never says nil for
// one that is not there.
func TestWhatPublishConfirmedIsThere(t *testing.T) {
	t.Parallel()
	proxy := netproxy.New(t, amqptest.Start(t).Addr)
	r := rigAt(t, proxy.Addr(), classic())
	r.makeQueue(t, r.queue, nil)
	var stored, failed int
	for i, point := range []netproxy.Point{netproxy.BeforeRequest, netproxy.WithinRequest, netproxy.BeforeReply, netproxy.WithinReply} {
		r.publish(t, "before")
		stored++
		body := []byte{'b', 'o', 'd', 'y', byte('0' + i)}
		trap := proxy.CutAt(point, string(body))
		err := r.client.Publish(t.Context(), "", r.queue, amqp.Publishing{Body: body})
		bustest.Within(t, trap.Sprung(), "the trap")
		if !errors.Is(err, amqpbus.ErrNotConfirmed) {
			t.Errorf("cut at %v: %v", point, err)
		}
		failed++
	}
	if n := r.ready(t, r.queue); n < stored || n > stored+failed {
		t.Errorf("%d messages, want %d to %d", n, stored, stored+failed)
	}
}

// deadLetters returns a rig, the name of a queue of dead letters, and a sink for it.
func deadLetters(t *testing.T) (r *rig, dead string, sink bus.DeadLetterSink) {
	t.Helper()
	r = newRig(t)
	dead = r.queue + ".dead"
	r.makeQueue(t, dead, nil)
	sink, err := amqpbus.DeadLetter(t.Context(), r.client, "", dead, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, dead, sink
}

func TestADeadLetterKeepsWhatTheMessageWas(t *testing.T) {
	t.Parallel()
	r, dead, sink := deadLetters(t)
	c := r.open(t, amqpbus.Options{})
	d := newDeduper(t, func(o *dedupe.Options) { o.DeadLetter, o.MaxAttempts = sink, 3 })
	stamp, side := time.Now().Truncate(time.Second), r.queue+".side"
	r.makeQueue(t, side, nil)
	if err := r.client.Publish(t.Context(), "", r.queue, amqp.Publishing{
		MessageId: "order-7", Body: []byte("body"), ContentType: "application/json", CorrelationId: "c", Type: "order", Timestamp: stamp,
		UserId: "guest", Expiration: "3600000",
		// Whoever publishes this again publishes it to others too.
		Headers: amqp.Table{"kind": "order", "CC": []any{side}},
	}); err != nil {
		t.Fatal(err)
	}
	stop := consume(t, c, d.Wrap(func(context.Context, *bus.Message) error { return errBoom }))
	bustest.Until(t, "the message to be rejected", func() bool { return c.Stats().Rejected == 1 })
	stop()
	r.has(t, dead, 1)
	got := r.get(t, dead)
	if string(got.Body) != "body" || got.MessageId != "order-7" || got.ContentType != "application/json" || got.CorrelationId != "c" ||
		got.Type != "order" || !got.Timestamp.Equal(stamp) || got.DeliveryMode != amqp.Persistent || got.Expiration != "" {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]any{
		"kind": "order", amqpbus.HeaderAttempt: int64(3), amqpbus.HeaderConsumer: "billing", amqpbus.HeaderOriginalKey: r.queue,
		amqpbus.HeaderOriginalExchange: "", amqpbus.HeaderOriginalUser: "guest",
	} {
		if got.Headers[name] != want {
			t.Errorf("header %s is %v, want %v", name, got.Headers[name], want)
		}
	}
	if n := r.ready(t, side); n != 1 || got.Headers["CC"] != nil || got.Headers[amqpbus.HeaderOriginalCC] == nil {
		t.Errorf("%d messages went to the queue in CC: %v", n, got.Headers)
	}
	if reason, _ := got.Headers[amqpbus.HeaderReason].(string); !strings.Contains(reason, "boom") || got.Headers[amqpbus.HeaderDeadLetterID] == "" {
		t.Errorf("%v", got.Headers)
	}
	r.has(t, r.queue, 0)
}

// Nobody takes the dead letter, so the message must stay.
func TestAMessageIsAckedOnlyWhenItsDeadLetterIsStored(t *testing.T) {
	t.Parallel()
	r, dead, sink := deadLetters(t)
	var refused atomic.Int64
	watched := func(ctx context.Context, d bus.DeadLetter) error {
		err := sink(ctx, d)
		if errors.Is(err, amqpbus.ErrUnroutable) {
			refused.Add(1)
		}
		return err
	}
	c := r.open(t, amqpbus.Options{Rejected: watched, Backoff: func(int) time.Duration { return 5 * time.Millisecond }})
	r.deleteQueue(t, dead)
	r.publish(t, "a")
	consume(t, c, func(context.Context, *bus.Message) error { return bus.Reject(errBoom) })
	bustest.Until(t, "the sink to fail", func() bool { return refused.Load() >= 3 })
	if s := c.Stats(); s.Acked != 0 || s.Rejected != 0 {
		t.Errorf("%+v: the message is gone without a dead letter", s)
	}
	r.makeQueue(t, dead, nil)
	bustest.Until(t, "the message to be rejected", func() bool { return c.Stats().Rejected == 1 })
	r.has(t, dead, 1)
}

// A server that is short of memory takes no messages, and goes on taking acks.
func TestAServerThatTakesNoMessagesTakesAcks(t *testing.T) {
	r, dead, sink := deadLetters(t)
	alarm := func(f string) {
		t.Helper()
		if _, err := r.node.Eval(context.WithoutCancel(t.Context()), "rabbit_alarm:"+f+"."); err != nil {
			t.Error(err)
		}
	}
	off := func() { alarm("clear_alarm({resource_limit, memory, node()})") }
	var blocked atomic.Int64
	watched := func(ctx context.Context, d bus.DeadLetter) error {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		err := sink(ctx, d)
		if errors.Is(err, amqpbus.ErrBlocked) {
			blocked.Add(1)
		}
		return err
	}
	c := r.open(t, amqpbus.Options{Workers: 2, Rejected: watched, Backoff: func(int) time.Duration { return 5 * time.Millisecond }})
	r.publish(t, "bad", "good")
	alarm("set_alarm({{resource_limit, memory, node()}, []})")
	defer off()
	consume(t, c, func(_ context.Context, m *bus.Message) error {
		if m.ID == "bad" {
			return bus.Reject(errBoom)
		}
		return nil
	})
	bustest.Until(t, "the ack", func() bool { return c.Stats().Acked == 1 })
	bustest.Until(t, "the sink to be refused", func() bool { return blocked.Load() >= 2 })
	off()
	bustest.Until(t, "the message to be rejected", func() bool { return c.Stats().Rejected == 1 })
	if n := r.ready(t, dead); n < 1 { // a copy for each time that the confirmation came late
		t.Errorf("%d dead letters", n)
	}
}

// Without a sink the server's own dead lettering takes a rejected message.
func TestARejectedMessageGoesToTheExchangeOfItsQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dead := r.queue + ".dead"
	r.makeQueue(t, dead, nil)
	r.about = &amqpbus.Queue{Args: amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}}
	c := r.open(t, amqpbus.Options{})
	r.publish(t, "a")
	consume(t, c, func(context.Context, *bus.Message) error { return bus.Reject(errBoom) })
	r.has(t, dead, 1)
}

func TestADeadLetterNeedsAPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, f := range map[string]func() (bus.DeadLetterSink, error){
		"no such queue":    func() (bus.DeadLetterSink, error) { return amqpbus.DeadLetter(t.Context(), r.client, "", "none", nil) },
		"no such exchange": func() (bus.DeadLetterSink, error) { return amqpbus.DeadLetter(t.Context(), r.client, "none", "k", nil) },
		"neither":          func() (bus.DeadLetterSink, error) { return amqpbus.DeadLetter(t.Context(), r.client, "", "", nil) },
		"no client":        func() (bus.DeadLetterSink, error) { return amqpbus.DeadLetter(t.Context(), nil, "", "k", nil) },
		"Timeout": func() (bus.DeadLetterSink, error) {
			return amqpbus.DeadLetter(t.Context(), r.client, "", "k", &amqpbus.DeadLetterOptions{Timeout: -1})
		},
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := amqpbus.DeadLetter(t.Context(), r.client, "amq.direct", "k", nil); err != nil {
		t.Error(err)
	}
}

// A message waits at the server, and comes back as it was.
func TestARetryQueueBringsMessagesBack(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]*amqpbus.Queue{"quorum": {}, "classic": classic()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rigAt(t, amqptest.Start(t).Addr, q)
			r.about.Bindings = []amqpbus.Binding{{Exchange: "amq.direct", Key: r.queue + ".key"}}
			c := r.open(t, amqpbus.Options{Workers: 1, RetryQueue: r.queue + ".retry"})
			if err := r.client.Publish(t.Context(), "amq.direct", r.queue+".key", amqp.Publishing{
				MessageId: "7", Body: []byte("body"), Headers: amqp.Table{"kind": "order"}, Expiration: "3600000",
			}); err != nil {
				t.Fatal(err)
			}
			var first time.Time
			const delay = 1100 * time.Millisecond
			stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
				if string(m.Data) != "body" || m.ID != "7" || m.Header.Get("kind") != "order" || m.Subject != r.queue+".key" {
					t.Errorf("%+v", m)
				}
				switch m.Delivery {
				case 1:
					first = time.Now()
					return bus.RetryAfter(errBoom, delay)
				case 2:
					if took := time.Since(first); took < delay {
						t.Errorf("came back after %v", took)
					}
					return bus.RetryAfter(errBoom, time.Millisecond)
				case 3:
					return bus.RetryAfter(errBoom, delay)
				}
				return nil
			})
			bustest.Until(t, "the first trip", func() bool { return c.Stats().PutOff == 1 })
			bustest.Until(t, "the message to be acked for good", func() bool { return c.Stats().Delivered == 4 })
			stop()
			if s := c.Stats(); s.PutOff != 2 || s.Retried != 3 || s.Unsettled != 0 {
				t.Errorf("%+v", s)
			}
			for _, queue := range []string{r.queue, r.queue + ".retry.1s"} {
				r.has(t, queue, 0)
			}
		})
	}
}

// A message that no retry queue takes is held.
func TestARetryQueueThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// A queue of the name is there with other settings, and is full.
	r.makeQueue(t, r.queue+".retry.1s", amqp.Table{"x-max-length": 0, "x-overflow": "reject-publish"})
	c := r.open(t, amqpbus.Options{Workers: 1, RetryQueue: r.queue + ".retry"})
	r.publish(t, "a")
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		if m.Delivery == 1 {
			return bus.RetryAfter(errBoom, time.Second)
		}
		return nil
	})
	bustest.Until(t, "the ack", func() bool { return c.Stats().Acked == 1 })
	stop()
	if s := c.Stats(); s.PutOff != 0 || s.Delivered != 2 {
		t.Errorf("%+v", s)
	}
}
