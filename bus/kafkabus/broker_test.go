package kafkabus_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/kafkatest"
)

// wire is what a member's connections go through, until it is cut.
type wire struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

var errCut = errors.New("the wire is cut")

func (w *wire) opt() kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.cut {
			return nil, errCut
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			w.conns = append(w.conns, c)
		}
		return c, err
	})
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// protocols are the ways in which a group is balanced.
var protocols = map[string][]kgo.Opt{
	"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
	"eager":       {kgo.Balancers(kgo.RangeBalancer())},
	"KIP-848":     {kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer())},
}

// A member is cut off while it handles a record. Its partition goes to another one,
// which handles the record too. What the first one then settles is committed by
// nobody, also when it is back.
func TestAMemberThatWasTakenForDeadCommitsNothing(t *testing.T) {
	t.Parallel()
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tp := realCluster(t).topic(t, 1)
			tp.publish(t, 0, "a", "b")
			opts := append([]kgo.Opt{kgo.SessionTimeout(2 * time.Second)}, protocol...)
			o := func() *kafkabus.Options {
				return &kafkabus.Options{CommitInterval: 10 * time.Millisecond, DrainTimeout: time.Second}
			}

			var w wire
			started, cause, finish := make(chan struct{}, 10), make(chan error, 10), make(chan struct{})
			a := tp.open(t, o(), append(opts, w.opt())...)
			consume(t, a, func(ctx context.Context, m *bus.Message) error {
				started <- struct{}{}
				<-ctx.Done()
				cause <- context.Cause(ctx)
				<-finish
				return nil // too late
			})
			bustest.Within(t, started, "the first member")
			w.set(true)

			gone := make(chan string, 10)
			stopB := consume(t, tp.open(t, o(), opts...), func(_ context.Context, m *bus.Message) error {
				gone <- string(m.Data)
				if string(m.Data) == "a" {
					return nil
				}
				return bus.RetryAfter(errHandler, time.Hour)
			})
			for _, want := range []string{"a", "b"} {
				if got := bustest.Within(t, gone, "the records at the second member"); got != want {
					t.Errorf("the second member got %q, want %q", got, want)
				}
			}
			until(t, func() bool { return tp.committed(t, 0) == 1 })

			w.set(false)
			if err := bustest.Within(t, cause, "the first member to learn of it"); !errors.Is(err, kafkabus.ErrPartitionLost) && !errors.Is(err, kafkabus.ErrRevoked) {
				t.Errorf("cause %v", err)
			}
			tp.publish(t, 0, "c") // behind what the second member holds
			close(finish)
			stopB()
			// The first member has the partition again, and goes on at the second record.
			bustest.Within(t, started, "the first member again")
			if got := tp.committed(t, 0); got != 1 {
				t.Errorf("committed %d, want 1", got)
			}
		})
	}
}

// A static member that is away for less than its session comes back to what it had.
func TestAStaticMemberComesBackToItsPartitions(t *testing.T) {
	t.Parallel()
	const partitions = 4
	tp := realCluster(t).topic(t, partitions)
	var mu sync.Mutex
	owners := map[int32]string{}
	seen := func(owner string) bus.Handler {
		return func(_ context.Context, m *bus.Message) error {
			mu.Lock()
			defer mu.Unlock()
			owners[m.Raw.(*kgo.Record).Partition] = owner
			return nil
		}
	}
	// round returns who has which partition.
	round := func() map[int32]string {
		mu.Lock()
		clear(owners)
		mu.Unlock()
		for p := range int32(partitions) {
			tp.publish(t, p, "m")
		}
		until(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(owners) == partitions
		})
		mu.Lock()
		defer mu.Unlock()
		got := map[int32]string{}
		for p, owner := range owners {
			got[p] = owner
		}
		return got
	}
	open := func(name string) *kafkabus.Consumer {
		return tp.open(t, &kafkabus.Options{CommitInterval: 10 * time.Millisecond}, kgo.InstanceID(name), kgo.SessionTimeout(10*time.Second))
	}
	a, b := open("a"), open("b")
	stopA := consume(t, a, seen("a"))
	consume(t, b, seen("b"))
	var before map[int32]string
	until(t, func() bool { // both have some
		before = round()
		count := map[string]int{}
		for _, owner := range before {
			count[owner]++
		}
		return count["a"] == partitions/2 && count["b"] == partitions/2
	})
	revoked := b.Stats().Revoked
	stopA() // and does not leave
	consume(t, open("a"), seen("a"))
	after := round()
	for p, owner := range after {
		if before[p] != owner {
			t.Errorf("partition %d went from %s to %s", p, before[p], owner)
		}
	}
	if got := b.Stats().Revoked - revoked; got != 0 {
		t.Errorf("the other member lost %d partitions", got)
	}
}

// Records that are on their way when the broker dies are handled when it is back,
// and what was committed is not handed over again.
func TestABrokerThatIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	b := kafkatest.StartOwn(t)
	tp := (&cluster{addrs: []string{b.Addr}}).topic(t, 2)
	for p := range int32(2) {
		tp.publish(t, p, names(int(p)*1000, 20)...)
	}
	var s seen
	var mu sync.Mutex
	logs := map[string]bool{}
	c := tp.open(t, &kafkabus.Options{CommitInterval: 10 * time.Millisecond})
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		s.add(m)
		mu.Lock()
		defer mu.Unlock()
		logs[m.Log] = true
		return nil
	})
	until(t, func() bool { return tp.committed(t, 0) == 20 && tp.committed(t, 1) == 20 })
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		tp.publish(t, p, names(int(p)*1000+20, 20)...)
	}
	until(t, func() bool { return tp.committed(t, 0) == 40 && tp.committed(t, 1) == 40 })
	stop()
	for name, n := range s.count {
		if n != 1 {
			t.Errorf("%s was handed over %d times", name, n)
		}
	}
	if len(s.count) != 80 {
		t.Errorf("%d records were handed over, want 80", len(s.count))
	}
	// What the broker may have lost it would give again: under another name.
	if len(logs) != 4 {
		t.Errorf("the records are in the logs %v, want one of each partition before the kill and one after it", logs)
	}
}

// A topic that is deleted and made again under its name has other positions. A
// consumer that had the old one takes none of its records and commits nothing to it.
func TestATopicThatIsMadeAgain(t *testing.T) {
	t.Parallel()
	tp := realCluster(t).topic(t, 1)
	tp.publish(t, 0, "old-0", "old-1", "old-2")
	admin := kadm.NewClient(tp.client(t))
	got, held, release := make(chan bus.Message, 10), make(chan struct{}), make(chan struct{})
	// Its client says goodbye once. Where that is lost in a rebalance, the next member
	// waits for a session.
	c := tp.open(t, &kafkabus.Options{CommitInterval: 10 * time.Millisecond}, kgo.SessionTimeout(6*time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- c.Consume(ctx, func(_ context.Context, m *bus.Message) error {
			got <- *m
			if string(m.Data) == "old-1" {
				close(held)
				<-release
			}
			return nil
		})
	}()
	first := bustest.Within(t, got, "the first record")
	bustest.Within(t, held, "the second")
	if _, err := admin.DeleteTopic(t.Context(), tp.name); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		_, err := admin.CreateTopic(t.Context(), 1, 1, nil, tp.name)
		return err == nil
	})
	client := tp.client(t, kgo.DefaultProduceTopic(tp.name), kgo.UnknownTopicRetries(-1))
	for _, name := range []string{"new-0", "new-1"} {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(name)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	cancel()
	// Its last commit goes to the topic that is gone.
	if err := bustest.Within(t, ended, "Consume to return"); err != nil && !errors.Is(err, kerr.UnknownTopicID) {
		t.Error(err)
	}
	c.Close()
	if at := tp.committed(t, 0); at > 0 {
		t.Errorf("committed %d to a topic of which nothing was consumed", at)
	}
	second := make(chan bus.Message, 10)
	consume(t, tp.open(t, nil), func(_ context.Context, m *bus.Message) error {
		second <- *m
		return nil
	})
	again := bustest.Within(t, second, "a record of the topic that was made again")
	if string(again.Data) != "new-0" || again.Sequence != first.Sequence || again.Log == first.Log || again.Position == first.Position {
		t.Errorf("%q at %s, want new-0 at another place than %s", again.Data, again.Position, first.Position)
	}
	close(got)
	for m := range got {
		if string(m.Data)[:3] == "new" {
			t.Errorf("%s was handed over as a record of the old topic, at %s", m.Data, m.Position)
		}
	}
}
