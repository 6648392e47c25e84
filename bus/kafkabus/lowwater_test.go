package kafkabus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/testutil/bustest"
)

var errHandler = errors.New("handler failed on purpose")

func names(first, n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("m%05d", first+i)
	}
	return s
}

// seen keeps deliveries in their order.
type seen struct {
	mu    sync.Mutex
	order []string
	count map[string]int
}

func (s *seen) add(m *bus.Message) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = make(map[string]int)
	}
	s.order = append(s.order, string(m.Data))
	s.count[string(m.Data)]++
	return s.count[string(m.Data)]
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

func TestOnlyTheLowWaterMarkIsCommitted(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 1)
	tp.publish(t, 0, names(0, 10)...)
	c := tp.open(t, &kafkabus.Options{Order: kafkabus.Unordered, Concurrency: 4, CommitInterval: 10 * time.Millisecond})
	var left atomic.Int64
	left.Store(8)
	others := make(chan struct{})
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		if string(m.Data) == "m00002" {
			return bus.RetryAfter(errHandler, time.Hour)
		}
		if left.Add(-1) == 0 {
			close(others)
		}
		return nil
	})
	bustest.Within(t, others, "the others")
	stop()
	if got := tp.committed(t, 0); got != 2 {
		t.Errorf("committed %d, want 2: the third record is not settled", got)
	}

	var again seen
	done := make(chan struct{})
	stop = consume(t, tp.open(t, nil), func(_ context.Context, m *bus.Message) error {
		again.add(m)
		if string(m.Data) == "m00009" {
			close(done)
		}
		return nil
	})
	bustest.Within(t, done, "the rest")
	stop()
	if got := again.all(); !slices.Equal(got, names(2, 8)) {
		t.Errorf("the next member was handed %v", got)
	}
	if got := tp.committed(t, 0); got != 10 {
		t.Errorf("committed %d at the end, want 10", got)
	}
}

func TestARecordThatIsHeldHoldsItsPartitionAlone(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 2)
	tp.publish(t, 0, "held", "behind")
	tp.publish(t, 1, names(0, 50)...)
	var s seen
	others, tries := make(chan struct{}), make(chan struct{}, 100)
	stop := consume(t, tp.open(t, nil), func(_ context.Context, m *bus.Message) error {
		s.add(m)
		switch string(m.Data) {
		case "held":
			tries <- struct{}{}
			return bus.RetryAfter(errHandler, 10*time.Millisecond)
		case "m00049":
			close(others)
		}
		return nil
	})
	bustest.Within(t, others, "the other partition")
	for range 3 {
		bustest.Within(t, tries, "tries of the held record")
	}
	stop()
	if slices.Contains(s.all(), "behind") {
		t.Error("a record overtook the one before it")
	}
	if a, b := tp.committed(t, 0), tp.committed(t, 1); a > 0 || b != 50 {
		t.Errorf("committed %d and %d, want nothing and 50", a, b)
	}
}

// Every record fails a few times. Nothing may overtake what it must not.
func TestOrderIsKeptOverRetries(t *testing.T) {
	t.Parallel()
	for _, order := range []kafkabus.Order{kafkabus.ByPartition, kafkabus.ByKey} {
		t.Run(order.String(), func(t *testing.T) {
			t.Parallel()
			const keys, each = 10, 20
			tp := newCluster(t).topic(t, 1)
			for i := range each {
				for k := range keys {
					r := &kgo.Record{Key: []byte{byte(k)}, Value: fmt.Append(nil, i)}
					if err := tp.producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
			}
			var mu sync.Mutex
			next, all, running := map[byte]int{}, 0, 0
			done := make(chan struct{})
			consume(t, tp.open(t, &kafkabus.Options{Order: order, Concurrency: 4}), func(_ context.Context, m *bus.Message) error {
				mu.Lock()
				defer mu.Unlock()
				if running++; order == kafkabus.ByPartition && running > 1 {
					t.Error("two at a time")
				}
				defer func() { running-- }()
				key := m.Raw.(*kgo.Record).Key[0]
				if want := fmt.Sprint(next[key]); string(m.Data) != want {
					t.Errorf("key %d: record %s, want %s", key, m.Data, want)
				}
				if m.Delivery < 1+next[key]%3 {
					return bus.RetryAfter(errHandler, time.Millisecond)
				}
				next[key]++
				if all++; all == keys*each {
					close(done)
				}
				return nil
			})
			bustest.Within(t, done, "all records")
		})
	}
}

func TestAPartitionThatIsHeldIsNotFetchedWithoutBound(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 1)
	const most = 100
	// As many as the client may have in hand when the partition is paused are on
	// top of it: fetches are small here.
	tp.publish(t, 0, names(0, 3000)...)
	open := make(chan struct{})
	var s seen
	var ran atomic.Int64
	last := make(chan struct{})
	c := tp.open(t, &kafkabus.Options{Order: kafkabus.Unordered, Concurrency: 8, MaxOutstanding: most},
		kgo.FetchMaxBytes(4<<10), kgo.FetchMaxPartitionBytes(4<<10))
	consume(t, c, func(_ context.Context, m *bus.Message) error {
		if string(m.Data) == "m00000" {
			select {
			case <-open:
			default:
				return bus.RetryAfter(errHandler, 50*time.Millisecond)
			}
		}
		s.add(m)
		if ran.Add(1) == 3000 {
			close(last)
		}
		return nil
	})
	// Ten tries of the held record later everything that was fetched has run.
	until(t, func() bool { return c.Stats().Retried >= 10 })
	if n := ran.Load(); n > 1000 {
		t.Errorf("%d records ran behind one that is held, want about %d at most", n, most)
	}
	close(open)
	bustest.Within(t, last, "all records")
}

func TestACommitThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	tp := cluster.topic(t, 1)
	var failures atomic.Int64
	cluster.fake.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if failures.Add(1) > 2 {
			return nil, nil, false
		}
		cluster.fake.KeepControl()
		r := req.(*kmsg.OffsetCommitRequest)
		resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownServerError.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	tp.publish(t, 0, names(0, 3)...)
	done := make(chan struct{})
	c := tp.open(t, &kafkabus.Options{CommitInterval: 10 * time.Millisecond})
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		if string(m.Data) == "m00002" {
			close(done)
		}
		return nil
	})
	bustest.Within(t, done, "the records")
	until(t, func() bool { return c.Stats().Commits > 0 })
	stop()
	if got, failed := tp.committed(t, 0), c.Stats().CommitsFailed; got != 3 || failed != 2 {
		t.Errorf("committed %d after %d failures, want 3 after 2", got, failed)
	}
}
