package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
)

// ledger counts how often each message was handled to the end.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
	all  chan struct{}
	want int
}

func newLedger(want int) *ledger {
	return &ledger{done: make(map[string]int), all: make(chan struct{}), want: want}
}

func (l *ledger) add(id string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[id]++
	if l.done[id] == 1 && len(l.done) == l.want {
		close(l.all)
	}
	return len(l.done)
}

func ids(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprint(i)
	}
	return s
}

func TestARestartInMidConsumptionLosesNothing(t *testing.T) {
	t.Parallel()
	for _, door := range []string{"Consume", "ConsumeBatch"} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			const messages = 400
			r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Second})
			c := r.open(t, &natsbus.Options{Workers: 4, BatchSize: 20, AckTimeout: 300 * time.Millisecond})
			r.publish(t, ids(messages)...)
			l := newLedger(messages)
			half := make(chan struct{})
			handle := func(m *bus.Message) error {
				if l.add(m.ID) == messages/2 {
					close(half)
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				if door == "Consume" {
					ended <- c.Consume(ctx, func(_ context.Context, m *bus.Message) error { return handle(m) })
					return
				}
				ended <- c.ConsumeBatch(ctx, func(_ context.Context, batch []*bus.Message) []error {
					for _, m := range batch {
						_ = handle(m)
					}
					return make([]error, len(batch))
				})
			}()
			bustest.Within(t, half, "half of the messages")
			r.server.Restart()
			bustest.Within(t, l.all, "all messages")
			cancel()
			if err := bustest.Within(t, ended, "the end"); err != nil {
				t.Error(err)
			}
			if s := c.Stats(); s.Unsettled > 0 {
				t.Logf("%+v", s) // acks that were not confirmed within the ack wait
			}
		})
	}
}

func TestConsumptionGoesOnSoonAfterAReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	got := make(chan string, 8)
	consume(t, r.open(t, nil), func(_ context.Context, m *bus.Message) error {
		got <- m.ID
		return nil
	})
	r.publish(t, "before")
	bustest.Within(t, got, "the first message")
	reconnected := r.js.Conn().StatusChanged(nats.CONNECTED)
	if err := r.js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	bustest.Within(t, reconnected, "the reconnect")
	start := time.Now()
	r.publish(t, "after")
	if id := bustest.Within(t, got, "the second message"); id != "after" {
		t.Errorf("got %q", id)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v: it waited for a missing heartbeat", took)
	}
}

func TestItEndsWhenThereIsNothingLeftToConsume(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		remove func(context.Context, *rig) error
	}{
		{"consumer deleted", func(ctx context.Context, r *rig) error {
			return r.js.DeleteConsumer(ctx, r.cons.CachedInfo().Stream, r.cons.CachedInfo().Name)
		}},
		{"stream deleted", func(ctx context.Context, r *rig) error {
			return r.js.DeleteStream(ctx, r.cons.CachedInfo().Stream)
		}},
		{"connection closed", func(_ context.Context, r *rig) error {
			r.js.Conn().Close()
			return nil
		}},
	} {
		for _, door := range []string{"Consume", "ConsumeBatch"} {
			t.Run(tt.name+", "+door, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, jetstream.ConsumerConfig{})
				c := r.open(t, nil)
				got := make(chan struct{}, 8)
				ended := make(chan error, 1)
				go func() {
					if door == "Consume" {
						ended <- c.Consume(t.Context(), func(context.Context, *bus.Message) error { got <- struct{}{}; return nil })
						return
					}
					ended <- c.ConsumeBatch(t.Context(), func(_ context.Context, batch []*bus.Message) []error {
						got <- struct{}{}
						return make([]error, len(batch))
					})
				}()
				r.publish(t, "m")
				bustest.Within(t, got, "a message")
				if err := tt.remove(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				err := bustest.Within(t, ended, "the end")
				if !errors.Is(err, jetstream.ErrConsumerDeleted) && !errors.Is(err, jetstream.ErrConsumerNotFound) &&
					!errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, nats.ErrConnectionClosed) {
					t.Errorf("ended with %v", err)
				}
			})
		}
	}
}

// lossyProxy passes bytes between clients and a server, and drops what the
// server says while it is told to.
type lossyProxy struct {
	net.Listener
	drop atomic.Bool
}

func newLossyProxy(t *testing.T, target string) *lossyProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{Listener: l}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				down.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, down, up)
			mu.Unlock()
			wg.Go(func() { copyUnless(up, down, func() bool { return false }) })
			wg.Go(func() { copyUnless(down, up, p.drop.Load) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return p
}

func copyUnless(to, from net.Conn, drop func() bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			to.Close()
			return
		}
		if drop() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			from.Close()
			return
		}
	}
}

func TestALostConfirmationIsAskedForAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 20 * time.Second})
	if r.server.External() {
		t.Skip("needs the embedded server's address")
	}
	proxy := newLossyProxy(t, r.js.Conn().ConnectedAddr())
	nc, err := nats.Connect("nats://"+proxy.Addr().String(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.Consumer(t.Context(), r.cons.CachedInfo().Stream, r.cons.CachedInfo().Name)
	if err != nil {
		t.Fatal(err)
	}
	through := &rig{server: r.server, js: js, cons: cons, subject: r.subject}
	c := through.open(t, &natsbus.Options{AckTimeout: 200 * time.Millisecond})
	handled := make(chan struct{}, 8)
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		proxy.drop.Store(true) // the ack will arrive, its confirmation will not
		handled <- struct{}{}
		return nil
	})
	r.publish(t, "m")
	bustest.Within(t, handled, "the message")
	acked := func() bool {
		info, err := r.cons.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.AckFloor.Stream == 1
	}
	for start := time.Now(); !acked(); {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the ack did not arrive")
		}
	}
	if n := c.Stats().Acked; n != 0 {
		t.Fatalf("%d acks count as confirmed, without a confirmation", n)
	}
	proxy.drop.Store(false)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Acked != 1 || s.Unsettled != 0 {
		t.Errorf("%+v, want one confirmed ack", s)
	}
}

func TestAnAckThatCannotBeConfirmedIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: 500 * time.Millisecond})
	if r.server.External() {
		t.Skip("stops the server")
	}
	told := make(chan error, 4)
	c := r.open(t, &natsbus.Options{
		AckTimeout: 100 * time.Millisecond, DrainTimeout: 2 * time.Second,
		OnError: func(err error) { told <- err },
	})
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		r.server.Shutdown()
		return nil
	})
	r.publish(t, "m")
	err := bustest.Within(t, told, "OnError")
	var settle *natsbus.SettleError
	if !errors.As(err, &settle) || settle.Action != bus.ActionAck || settle.Position == "" || settle.Err == nil {
		t.Errorf("told %#v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Acked != 0 || s.Unsettled != 1 {
		t.Errorf("%+v", s)
	}
}

func TestKeepAliveWithoutAConnectionIsAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	if r.server.External() {
		t.Skip("stops the server")
	}
	gone := r.js.Conn().StatusChanged(nats.RECONNECTING)
	result := make(chan error, 2)
	consume(t, r.open(t, &natsbus.Options{DrainTimeout: time.Second}), func(ctx context.Context, m *bus.Message) error {
		r.server.Shutdown()
		bustest.Within(t, gone, "the client to notice")
		result <- m.KeepAlive(ctx)
		return bus.Abandon(errTest)
	})
	r.publish(t, "m")
	if err := bustest.Within(t, result, "the handler"); !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("got %v", err)
	}
}

func TestTheLastMessagesOfAStoppedConsumerAreGivenBackAtOnce(t *testing.T) {
	t.Parallel()
	const messages = 200
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Minute}) // waiting it out fails the test
	l := newLedger(messages)
	r.publish(t, ids(messages)...)
	for round := 0; ; round++ {
		c := r.open(t, &natsbus.Options{Workers: 8})
		some := make(chan struct{})
		var n atomic.Int64
		stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
			l.add(m.ID)
			if n.Add(1) == 20 {
				close(some)
			}
			return nil
		})
		select {
		case <-some: // stop while messages stream in
			if err := stop(); err != nil {
				t.Error(err)
			}
			continue
		case <-l.all:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: messages are stuck", round)
		}
		break
	}
}

func TestPlainAcksSettleToo(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	c := r.open(t, &natsbus.Options{PlainAck: true})
	got := make(chan struct{}, 8)
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		got <- struct{}{}
		if m.ID == "b" {
			return bus.Reject(errTest)
		}
		return nil
	})
	r.publish(t, "a", "b")
	bustest.Within(t, got, "a message")
	bustest.Within(t, got, "a message")
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := r.js.Conn().Flush(); err != nil { // the server has read all acks
		t.Fatal(err)
	}
	info, err := r.cons.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Acked != 1 || s.Rejected != 1 || info.NumAckPending != 0 {
		t.Errorf("%+v, %d acks pending", s, info.NumAckPending)
	}
}
