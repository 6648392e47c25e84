package kafkabus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/bustest"
)

// The first member works on a record of every partition when the second one
// comes. What it settles while partitions are taken away is committed first.
func TestHandlersOfARevokedPartitionFinishAndAreCommitted(t *testing.T) {
	t.Parallel()
	const partitions = 4
	for _, balancer := range []kgo.GroupBalancer{kgo.CooperativeStickyBalancer(), kgo.RangeBalancer()} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) {
			t.Parallel()
			tp := newCluster(t).topic(t, partitions)
			for p := range int32(partitions) {
				tp.publish(t, p, names(int(p), 1)...)
			}
			var s seen
			started, finish := make(chan struct{}, partitions), make(chan struct{})
			handler := func(ctx context.Context, m *bus.Message) error {
				s.add(m)
				started <- struct{}{}
				<-finish
				return context.Cause(ctx)
			}
			a := tp.open(t, nil, kgo.Balancers(balancer))
			stopA := consume(t, a, handler)
			for range partitions {
				bustest.Within(t, started, "the handlers")
			}
			stopB := consume(t, tp.open(t, nil, kgo.Balancers(balancer)), handler)
			until(t, func() bool { return a.Stats().Revoked > 0 })
			close(finish)
			stopB()
			stopA()
			for p := range int32(partitions) {
				if got := tp.committed(t, p); got != 1 {
					t.Errorf("partition %d: committed %d, want 1", p, got)
				}
			}
			if got := s.all(); len(got) != partitions {
				t.Errorf("handed over %v, want each once", got)
			}
		})
	}
}

func TestAHandlerThatOutstaysTheRevocationLosesItsContext(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 2)
	tp.publish(t, 0, "a")
	tp.publish(t, 1, "b")
	started, causes := make(chan struct{}, 2), make(chan error, 2)
	a := tp.open(t, &kafkabus.Options{RevokeTimeout: 50 * time.Millisecond, DrainTimeout: 50 * time.Millisecond})
	stopA := consume(t, a, func(ctx context.Context, m *bus.Message) error {
		started <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return bus.Abandon(context.Cause(ctx))
	})
	for range 2 {
		bustest.Within(t, started, "the handlers")
	}
	got := make(chan string, 4)
	stopB := consume(t, tp.open(t, nil), func(_ context.Context, m *bus.Message) error {
		got <- string(m.Data)
		return nil
	})
	if err := bustest.Within(t, causes, "the end of a context"); !errors.Is(err, kafkabus.ErrRevoked) {
		t.Errorf("cause %v", err)
	}
	bustest.Within(t, got, "the record at its next owner")
	stopB()
	stopA()
}

// The member is taken for dead, and somebody else has its partitions.
func TestALostPartitionIsNotCommitted(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	tp := cluster.topic(t, 1)
	tp.publish(t, 0, "a")
	var fenced atomic.Bool
	cluster.fake.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.fake.KeepControl()
		if !fenced.Load() {
			return nil, nil, false
		}
		resp := req.(*kmsg.HeartbeatRequest).ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return resp, nil, true
	})
	started, cause := make(chan struct{}, 10), make(chan error, 10)
	c := tp.open(t, &kafkabus.Options{CommitInterval: 10 * time.Millisecond, DrainTimeout: 50 * time.Millisecond})
	consume(t, c, func(ctx context.Context, m *bus.Message) error {
		started <- struct{}{}
		<-ctx.Done()
		fenced.Store(false)
		cause <- context.Cause(ctx)
		return nil // too late
	})
	bustest.Within(t, started, "the handler")
	fenced.Store(true)
	if err := bustest.Within(t, cause, "the end of its context"); !errors.Is(err, kafkabus.ErrPartitionLost) {
		t.Errorf("cause %v", err)
	}
	bustest.Within(t, started, "the record again, after the member joined anew")
	if got := tp.committed(t, 0); got > 0 {
		t.Errorf("committed %d by a member that had lost the partition", got)
	}
	if got := c.Stats(); got.Lost != 1 {
		t.Errorf("%+v, want one partition lost", got)
	}
}

// Members come and go while records are handled, some of which fail. With a
// deduplicator each takes effect once, and none is lost.
func TestARebalanceStormLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	const partitions, each = 6, 100
	tp := newCluster(t).topic(t, partitions)
	for p := range int32(partitions) {
		tp.publish(t, p, names(int(p)*each, each)...)
	}
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "storm"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(context.Background())
	var mu sync.Mutex
	effects := make(map[string]int)
	done := make(chan struct{})
	handler := d.Wrap(func(_ context.Context, m *bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if m.Delivery == 1 && len(effects)%7 == 3 {
			return bus.RetryAfter(errHandler, time.Millisecond)
		}
		if effects[string(m.Data)]++; len(effects) == partitions*each {
			select {
			case <-done:
			default:
				close(done)
			}
		}
		return nil
	})
	o := func() *kafkabus.Options {
		return &kafkabus.Options{Order: kafkabus.Unordered, Concurrency: 4, CommitInterval: 10 * time.Millisecond}
	}
	consume(t, tp.open(t, o()), handler)
	for range 5 {
		stop := consume(t, tp.open(t, o()), handler)
		select {
		case <-done:
		case <-time.After(150 * time.Millisecond): // a member's life
		}
		stop()
	}
	bustest.Within(t, done, "every record")
	mu.Lock()
	defer mu.Unlock()
	for id, n := range effects {
		if n != 1 {
			t.Errorf("%s took effect %d times", id, n)
		}
	}
}
