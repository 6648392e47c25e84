package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/faultstore"
	"github.com/oncebus/once/testutil/natstest"
)

// stream is a JetStream stream with a consumer, on which processes consume.
type stream struct {
	*testing.T
	js       jetstream.JetStream
	name     string
	consumer jetstream.Consumer
}

const ackWait = time.Second

func newStream(t *testing.T) *stream {
	t.Parallel()
	s := &stream{T: t, js: natstest.Run(t).JetStream()}
	s.consumer = natstest.Consumer(t, s.js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1})
	s.name = s.consumer.CachedInfo().Stream
	return s
}

func (s *stream) publish(ids ...string) {
	s.Helper()
	for i, id := range ids {
		// No Nats-Msg-Id of the stream's own: its window must not do our work.
		m := &nats.Msg{Subject: natstest.Subject(s.name) + ".orders", Header: nats.Header{"Order": {id}}, Data: []byte(fmt.Sprint(i))}
		if _, err := s.js.PublishMsg(s.Context(), m); err != nil {
			s.Fatal(err)
		}
	}
}

// options are those of a Deduper for messages of the stream.
func (s *stream) options(o *dedupe.Options) {
	o.Key = dedupe.ByHeader("Order")
	o.Lease = ackWait
	o.Backoff = func(int) time.Duration { return 10 * time.Millisecond }
}

func (s *stream) bus(workers int) *natsbus.Consumer {
	s.Helper()
	c, err := natsbus.New(s.Context(), s.js, s.consumer, &natsbus.Options{Workers: workers, Logger: quiet})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// consume hands the stream's messages to h, by one process, until the test ends
// or stop is called.
func (s *stream) consume(h bus.Handler, workers int) (stop func()) {
	s.Helper()
	return s.start(func(ctx context.Context) error { return s.bus(workers).Consume(ctx, h) })
}

func (s *stream) start(consume func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- consume(ctx) }()
	done := false
	stop = func() {
		if cancel(); !done {
			done = true
			if err := <-stopped; err != nil {
				s.Error(err)
			}
		}
	}
	s.Cleanup(stop)
	return stop
}

// settled waits until no message is left to be delivered or acknowledged.
func (s *stream) settled() {
	s.Helper()
	s.until("nothing is left in the stream's consumer", func() bool {
		i, err := s.consumer.Info(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		return i.NumPending == 0 && i.NumAckPending == 0
	})
}

func (s *stream) until(what string, is func() bool) {
	s.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			s.Fatalf("not after 30 s: %s", what)
		}
		pass(5 * time.Millisecond)
	}
}

// order is a handler that has its effect on the order that a message names.
func (e *effects) order(_ context.Context, m *bus.Message) error {
	e.add(&bus.Message{ID: m.Header.Get("Order")})
	return nil
}

func TestJetStreamHandlerFailsIsRedeliveredAndRunsAgain(t *testing.T) {
	s := newStream(t)
	d := newDeduper(t, newMemstore(t), s.options)
	var did effects
	var runs atomic.Int64
	s.consume(d.Wrap(func(ctx context.Context, m *bus.Message) error {
		if runs.Add(1)%2 == 1 {
			return errBoom
		}
		return did.order(ctx, m)
	}), 1)
	s.publish("1", "1", "2")
	s.settled()
	if len(did.ids) != 2 || d.Stats().Succeeded != 2 {
		t.Errorf("%d effects, want one for each order", len(did.ids))
	}
}

func TestJetStreamCopiesAtTwoProcessesAtOnceRunOnce(t *testing.T) {
	s := newStream(t)
	store := newMemstore(t)
	var did effects
	var ids []string
	for i := range 300 {
		ids = append(ids, fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i-i%7))
	}
	s.publish(ids...)
	for range 2 {
		d := newDeduper(t, store, s.options)
		s.consume(d.Wrap(did.order), 8)
	}
	s.settled()
	for i := range 300 {
		if n := did.count(fmt.Sprint(i)); n != 1 {
			t.Errorf("order %d has %d effects", i, n)
		}
	}
}

func TestJetStreamWorkerVanishesBeforeTheAckAndTheOrderIsNotRunAgain(t *testing.T) {
	s := newStream(t)
	d := newDeduper(t, newMemstore(t), s.options)
	var did effects
	once := d.Wrap(did.order)
	var vanished atomic.Bool
	s.consume(func(ctx context.Context, m *bus.Message) error {
		if err := once(ctx, m); err != nil || vanished.Swap(true) {
			return err
		}
		return bus.Abandon(errors.New("the process is gone"))
	}, 1)
	s.publish("1")
	s.until("the order is delivered again", func() bool { return d.Stats().Duplicates == 1 })
	s.settled()
	if did.count("1") != 1 {
		t.Errorf("%d effects", did.count("1"))
	}
}

func TestJetStreamHandlerLongerThanTheAckWaitIsNotDeliveredAgain(t *testing.T) {
	s := newStream(t)
	d := newDeduper(t, newMemstore(t), s.options)
	s.consume(d.Wrap(func(ctx context.Context, m *bus.Message) error {
		select {
		case <-time.After(5 * ackWait / 2):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}), 2)
	s.publish("1")
	s.settled()
	if st := d.Stats(); st.Deliveries != 1 || st.Succeeded != 1 {
		t.Errorf("%d deliveries and %d successes, want 1 and 1", st.Deliveries, st.Succeeded)
	}
}

func TestJetStreamStaleOwnerNeitherAcksNorNaks(t *testing.T) {
	s := newStream(t)
	store := newMemstore(t)
	cut := faultstore.New(store)
	cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
	a, b := newDeduper(t, cut, s.options), newDeduper(t, store, s.options)
	workA, workB := newBusy(), newBusy()
	s.publish("1")
	stopA := s.consume(a.Wrap(workA.handler), 1)
	<-(<-workA.started).Done() // A cannot keep its lease
	s.consume(b.Wrap(workB.handler), 1)
	ctxB := <-workB.started
	workA.end <- nil // a stale ack would take the message from B
	stopA()
	if a.Stats().LostCommits != 1 {
		t.Errorf("A counts %d lost commits, want 1", a.Stats().LostCommits)
	}
	if i, err := s.consumer.Info(t.Context()); err != nil || i.NumAckPending != 1 {
		t.Errorf("%d messages wait for an ack (%v), want B's", i.NumAckPending, err)
	}
	workB.end <- nil
	s.settled()
	if ctxB.Err() == nil || b.Stats().Succeeded != 1 || b.Stats().Takeovers != 1 {
		t.Errorf("B: %+v", b.Stats())
	}
}

func TestJetStreamStoreDownLosesNothing(t *testing.T) {
	s := newStream(t)
	cut := faultstore.New(newMemstore(t))
	cut.On(faultstore.Any, faultstore.Fail, faultstore.Always)
	d := newDeduper(t, cut, func(o *dedupe.Options) {
		s.options(o)
		o.ClaimTimeout, o.CircuitCooldown = 20*time.Millisecond, 50*time.Millisecond
	})
	var did effects
	s.consume(d.Wrap(did.order), 4)
	s.publish("1", "2", "3", "2")
	s.until("the circuit has turned messages away", func() bool { return d.Stats().StoreDown > 8 })
	if len(did.ids) != 0 {
		t.Errorf("ran %v while the store is down", did.ids)
	}
	cut.Reset()
	s.settled()
	if len(did.ids) != 3 {
		t.Errorf("ran %v, want 1, 2 and 3 once each", did.ids)
	}
}

func TestJetStreamDeadLetterIsKeptAndRedriveRunsExactlyOnceMore(t *testing.T) {
	s := newStream(t)
	store := newMemstore(t)
	letters := natstest.Consumer(t, s.js, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	subject := natstest.Subject(letters.CachedInfo().Stream) + ".dead"
	sink, err := natsbus.DeadLetter(t.Context(), s.js, subject, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDeduper(t, store, func(o *dedupe.Options) { s.options(o); o.DeadLetter = sink })
	var broken atomic.Bool
	broken.Store(true)
	var did effects
	s.consume(d.Wrap(func(ctx context.Context, m *bus.Message) error {
		if broken.Load() {
			return dedupe.Permanent(errBoom)
		}
		return did.order(ctx, m)
	}), 1)
	s.publish("7")
	s.settled()
	letter, err := letters.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if letter.Headers().Get("Order") != "7" || string(letter.Data()) != "0" {
		t.Errorf("the dead letter has headers %v and data %q", letter.Headers(), letter.Data())
	}

	broken.Store(false)
	s.publish("7")
	s.settled()
	if len(did.ids) != 0 {
		t.Error("a dead order ran without an operator's word")
	}
	dead, err := d.Inspect(t.Context(), dedupe.ID("7"))
	if err != nil || dead.State != claim.StateDead {
		t.Fatalf("the record is %v, %v", dead.State, err)
	}
	if err := d.Revive(t.Context(), dedupe.ID("7"), dead); err != nil {
		t.Fatal(err)
	}
	s.publish("7", "7")
	s.settled()
	if len(did.ids) != 1 {
		t.Errorf("%d effects after the redrive, want 1", len(did.ids))
	}
}

func TestJetStreamBatchesWithDuplicatesInsideRunEachOrderOnce(t *testing.T) {
	s := newStream(t)
	d := newDeduper(t, newMemstore(t), s.options)
	var ids []string
	for i := range 200 {
		ids = append(ids, fmt.Sprint(i/2), fmt.Sprint(i/3))
	}
	s.publish(ids...)
	counts := map[string]int{}
	s.start(func(ctx context.Context) error {
		return s.bus(1).ConsumeBatch(ctx, d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error {
			errs := make([]error, len(ms))
			for i, m := range ms {
				if order := m.Header.Get("Order"); m.Delivery == 1 && len(order) == 1 {
					errs[i] = errBoom
				} else {
					counts[order]++
				}
			}
			return errs
		}))
	})
	s.settled()
	for i := range 100 {
		if n := counts[fmt.Sprint(i)]; n != 1 {
			t.Errorf("order %d has %d effects", i, n)
		}
	}
}

func TestJetStreamShutdownInMidRunLosesNothing(t *testing.T) {
	s := newStream(t)
	store := newMemstore(t)
	var did effects
	var ids []string
	for i := range 500 {
		ids = append(ids, fmt.Sprint(i))
	}
	s.publish(ids...)
	for n := 100; n < 500; n += 100 {
		d := newDeduper(t, store, s.options)
		stop := s.consume(d.Wrap(did.order), 8)
		s.until("another fifth of the orders ran", func() bool { return did.total() >= n })
		stop()
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s.consume(newDeduper(t, store, s.options).Wrap(did.order), 8)
	s.settled()
	for _, id := range ids {
		if did.count(id) != 1 {
			t.Errorf("order %s has %d effects", id, did.count(id))
		}
	}
}
