package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

// The facts about the server on which this package is built. If one of these
// fails, the server has changed, and so must the package.

var errTest = errors.New("handler failed on purpose")

// next fetches one message.
func next(t *testing.T, cons jetstream.Consumer) jetstream.Msg {
	t.Helper()
	m, err := cons.Next(jetstream.FetchMaxWait(15 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// delivery returns the delivery number of m.
func delivery(t *testing.T, m jetstream.Msg) uint64 {
	t.Helper()
	md, err := m.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	return md.NumDelivered
}

// about is wide enough for a busy machine; the tests choose durations that differ
// by more.
func about(got, want time.Duration) bool {
	return got >= want/2 && got <= want+700*time.Millisecond
}

func TestFactBackOffOverridesAckWait(t *testing.T) {
	t.Parallel()
	backoff := []time.Duration{400 * time.Millisecond, 2500 * time.Millisecond}
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour, BackOff: backoff})
	if got := r.cons.CachedInfo().Config.AckWait; got != backoff[0] {
		t.Errorf("AckWait became %v, want the first entry of BackOff, %v", got, backoff[0])
	}
	r.publish(t, "m")
	var at []time.Time
	for n := uint64(1); n <= 3; n++ {
		if got := delivery(t, next(t, r.cons)); got != n {
			t.Fatalf("delivery %d, want %d", got, n)
		}
		at = append(at, time.Now())
	}
	for i, want := range backoff {
		if got := at[i+1].Sub(at[i]); !about(got, want) {
			t.Errorf("delivery %d came %v after the one before, want %v", i+2, got, want)
		}
	}
}

func TestFactADelayedNakIsLateUnderBackOff(t *testing.T) {
	t.Parallel()
	const delay = 400 * time.Millisecond
	backoff := []time.Duration{200 * time.Millisecond, 2 * time.Second}
	r := newRig(t, jetstream.ConsumerConfig{BackOff: backoff})
	r.publish(t, "m")
	next(t, r.cons) // left alone: the second delivery is under BackOff[1]
	m := next(t, r.cons)
	asked := time.Now()
	if err := m.NakWithDelay(delay); err != nil {
		t.Fatal(err)
	}
	next(t, r.cons)
	late := delay + backoff[1] - backoff[0]
	if got := time.Since(asked); !about(got, late) {
		t.Errorf("came after %v; asked for %v, expected the server to take %v", got, delay, late)
	}
}

func TestFactTheServerTakesANegativeDelay(t *testing.T) {
	t.Parallel()
	backoff := []time.Duration{200 * time.Millisecond, 3 * time.Second}
	r := newRig(t, jetstream.ConsumerConfig{BackOff: backoff})
	r.publish(t, "m")
	next(t, r.cons)
	m := next(t, r.cons)
	asked := time.Now()
	const want = 300 * time.Millisecond
	body := fmt.Sprintf(`-NAK {"delay": %d}`, want-(backoff[1]-backoff[0]))
	if err := r.js.Conn().Publish(m.Reply(), []byte(body)); err != nil {
		t.Fatal(err)
	}
	next(t, r.cons)
	if got := time.Since(asked); !about(got, want) {
		t.Errorf("came after %v, want %v", got, want)
	}
}

func TestFactAStaleAckRemovesTheMessageOfItsNewOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond})
	r.publish(t, "m")
	stale := next(t, r.cons)
	owner := next(t, r.cons)
	if delivery(t, stale) != 1 || delivery(t, owner) != 2 {
		t.Fatal("want the first two deliveries")
	}
	if err := stale.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := r.cons.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.NumAckPending != 0 || info.AckFloor.Stream != 1 {
		t.Errorf("%d acks pending, floor %d: the stale ack was refused", info.NumAckPending, info.AckFloor.Stream)
	}
	if err := owner.DoubleAck(t.Context()); err != nil {
		t.Errorf("the owner's ack: %v", err) // it is even confirmed
	}
}

func TestFactAStaleNakStartsAThirdDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 2 * time.Second, BackOff: []time.Duration{300 * time.Millisecond, time.Minute}})
	r.publish(t, "m")
	stale := next(t, r.cons)
	next(t, r.cons) // its owner has a minute
	if err := stale.Nak(); err != nil {
		t.Fatal(err)
	}
	if got := delivery(t, next(t, r.cons)); got != 3 {
		t.Errorf("delivery %d, want 3", got)
	}
}

func TestFactMaxDeliverDropsWithoutAWord(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond, MaxDeliver: 2})
	r.publish(t, "m")
	for range 2 {
		if err := next(t, r.cons).Nak(); err != nil {
			t.Fatal(err)
		}
	}
	r.publish(t, "marker")
	if m := next(t, r.cons); string(m.Data()) != "marker" {
		t.Fatalf("%q was delivered (%d)", m.Data(), delivery(t, m))
	}
	if m := next(t, r.cons); string(m.Data()) != "marker" { // an ack wait later
		t.Fatalf("%q was delivered (%d)", m.Data(), delivery(t, m))
	}
}

func TestADelayUnderBackOffComesInTime(t *testing.T) {
	t.Parallel()
	backoff := []time.Duration{400 * time.Millisecond, 2 * time.Second, 2500 * time.Millisecond}
	for _, delay := range []time.Duration{200 * time.Millisecond, 1800 * time.Millisecond} { // below and above the difference
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, jetstream.ConsumerConfig{BackOff: backoff})
			at := make(chan time.Time, 8)
			waits := make(chan time.Duration, 8)
			consume(t, r.open(t, nil), func(_ context.Context, m *bus.Message) error {
				at <- time.Now()
				waits <- m.AckWait
				if m.Delivery < 4 {
					return bus.RetryAfter(errTest, delay)
				}
				return nil
			})
			r.publish(t, "m")
			last := bustest.Within(t, at, "a delivery")
			for n := 2; n <= 4; n++ {
				now := bustest.Within(t, at, "a delivery")
				if got := now.Sub(last); !about(got, delay) {
					t.Errorf("delivery %d came after %v, want %v", n, got, delay)
				}
				last = now
			}
			for _, want := range append(backoff, backoff[2]) {
				if got := <-waits; got != want {
					t.Errorf("AckWait %v, want %v", got, want)
				}
			}
		})
	}
}

func TestAnAbandonedMessageIsLeftToItsSecondOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 400 * time.Millisecond})
	c := r.open(t, nil)
	second, firstGone, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := consume(t, c, func(ctx context.Context, m *bus.Message) error {
		switch m.Delivery {
		case 1:
			<-second // outlives the ack wait
			defer close(firstGone)
			return bus.Abandon(errTest)
		case 2:
			close(second)
			<-firstGone
			info, err := r.cons.Info(ctx)
			if err != nil || info.NumAckPending != 1 {
				t.Errorf("%v, %+v: the message is not pending any more", err, info)
			}
			defer close(done)
		default:
			t.Errorf("delivery %d", m.Delivery)
		}
		return nil
	})
	r.publish(t, "m")
	bustest.Within(t, done, "the second owner")
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := c.Stats(); got.Abandoned != 1 || got.Acked != 1 || got.Delivered != 2 {
		t.Errorf("%+v", got)
	}
}

func TestARecreatedStreamGivesOtherPositions(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	js := s.JetStream()
	cfg := jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again"}}
	positions := make(map[string]bool)
	for range 2 {
		stream, err := js.CreateStream(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		cons, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "worker"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "again", []byte("same")); err != nil {
			t.Fatal(err)
		}
		r := &rig{server: s, js: js, cons: cons, subject: "again"}
		position := make(chan string, 2)
		stop := consume(t, r.open(t, nil), func(_ context.Context, m *bus.Message) error {
			position <- m.Position
			return nil
		})
		p := bustest.Within(t, position, "the message")
		if !strings.HasPrefix(p, "AGAIN@") || !strings.HasSuffix(p, ":1") {
			t.Errorf("position %q", p)
		}
		positions[p] = true
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := js.DeleteStream(t.Context(), "AGAIN"); err != nil {
			t.Fatal(err)
		}
	}
	if len(positions) != 2 {
		t.Errorf("the first messages of two streams share the position %v", positions)
	}
}

// Every message is worked on for longer than the ack wait and kept alive, as a
// deduplicator does.
func TestMessagesDoNotAgeInALocalQueue(t *testing.T) {
	t.Parallel()
	const ackWait, messages = 400 * time.Millisecond, 8
	r := newRig(t, jetstream.ConsumerConfig{AckWait: ackWait})
	c := r.open(t, &natsbus.Options{Workers: 2})
	done := make(chan int, 4*messages)
	ids := make([]string, messages)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	r.publish(t, ids...)
	stop := consume(t, c, func(ctx context.Context, m *bus.Message) error {
		for range 4 {
			<-time.After(ackWait / 3)
			if err := m.KeepAlive(ctx); err != nil {
				t.Error(err)
			}
		}
		done <- m.Delivery
		return nil
	})
	for range messages {
		if n := bustest.Within(t, done, "a message"); n != 1 {
			t.Errorf("a message was delivered %d times: it waited here while it was not worked on", n)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	info, err := r.cons.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Delivered.Consumer != messages || info.NumAckPending != 0 {
		t.Errorf("%d deliveries of %d messages, %d not acked", info.Delivered.Consumer, messages, info.NumAckPending)
	}
}

// The control of the test above: the client's own queue does age.
func TestFactTheClientsQueueAges(t *testing.T) {
	t.Parallel()
	const ackWait = 300 * time.Millisecond
	r := newRig(t, jetstream.ConsumerConfig{AckWait: ackWait})
	r.publish(t, "a", "b", "c")
	twice := make(chan struct{}, 16)
	cc, err := r.cons.Consume(func(m jetstream.Msg) {
		if delivery(t, m) > 1 {
			twice <- struct{}{}
		}
		<-time.After(ackWait)
		if err := m.DoubleAck(context.Background()); err != nil {
			t.Log(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	bustest.Within(t, twice, "a message that was delivered again while it waited for the callback")
	cc.Stop()
	bustest.Within(t, cc.Closed(), "the client to stop")
}

func TestHeadersAreNotCopied(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	same := make(chan bool, 2)
	consume(t, r.open(t, nil), func(_ context.Context, m *bus.Message) error {
		raw := m.Raw.(*nats.Msg)
		m.Header["Probe"] = []string{"x"}
		same <- raw.Header.Get("Probe") == "x" && &raw.Data[0] == &m.Data[0]
		return nil
	})
	r.publish(t, "m")
	if !bustest.Within(t, same, "the message") {
		t.Error("header or payload were copied")
	}
}
