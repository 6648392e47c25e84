package kafkabus_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/testutil/bustest"
)

func header(r *kgo.Record, name string) string { return kafkabus.IDFromHeader(name)(r) }

// next returns the next record of a topic.
func next(t testing.TB, c *kgo.Client) *kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		fetches := c.PollRecords(ctx, 1)
		if r := fetches.Records(); len(r) > 0 {
			return r[0]
		}
		if ctx.Err() != nil {
			t.Fatal("waited in vain for a record")
		}
	}
}

func TestARecordThatIsHeldTooLongGoesToTheRetryTopic(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	tp, retries := cluster.topic(t, 1), cluster.topic(t, 1)
	tp.publish(t, 0, "bad", "good")
	good := make(chan struct{})
	c := tp.open(t, &kafkabus.Options{RetryTopic: retries.name, HoldFor: 100 * time.Millisecond})
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		if string(m.Data) == "bad" {
			return bus.RetryAfter(errHandler, 30*time.Millisecond)
		}
		close(good)
		return nil
	})
	bustest.Within(t, good, "the record behind it")
	stop()
	r := next(t, cluster.client(t, kgo.ConsumeTopics(retries.name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	if string(r.Value) != "bad" || string(r.Key) != "bad" || header(r, "id") != "bad" || header(r, kafkabus.HeaderOriginalTopic) != tp.name ||
		header(r, kafkabus.HeaderOriginalPartition) != "0" || header(r, kafkabus.HeaderOriginalOffset) != "0" || header(r, kafkabus.HeaderDeliveries) == "" {
		t.Errorf("retry topic has %+v", r)
	}
	if got := tp.committed(t, 0); got != 2 {
		t.Errorf("committed %d, want 2", got)
	}
	if got := c.Stats(); got.Forwarded != 1 {
		t.Errorf("%+v", got)
	}
}

func TestARecordThatTheRetryTopicDoesNotTakeIsHeld(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 1)
	tp.publish(t, 0, "bad")
	var tries atomic.Int64
	enough := make(chan struct{})
	c := tp.open(t, &kafkabus.Options{RetryTopic: "there-is-none", HoldFor: time.Millisecond}, kgo.UnknownTopicRetries(0))
	stop := consume(t, c, func(context.Context, *bus.Message) error {
		if tries.Add(1) == 3 {
			close(enough)
		}
		return bus.RetryAfter(errHandler, 10*time.Millisecond)
	})
	bustest.Within(t, enough, "tries")
	stop()
	if got := tp.committed(t, 0); got > 0 {
		t.Errorf("committed %d", got)
	}
}

func TestARecordThatIsHeldForLongIsTold(t *testing.T) {
	t.Parallel()
	tp := newCluster(t).topic(t, 1)
	tp.publish(t, 0, "secret")
	lines := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(lineWriter(lines), nil))
	consume(t, tp.open(t, &kafkabus.Options{HoldFor: 50 * time.Millisecond, Logger: log}), func(context.Context, *bus.Message) error {
		return bus.RetryAfter(errHandler, 10*time.Millisecond)
	})
	for {
		line := bustest.Within(t, lines, "a warning")
		if strings.Contains(line, "secret") {
			t.Errorf("an id was logged: %s", line)
		}
		if strings.Contains(line, "holds its partition") {
			return
		}
	}
}

type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	select {
	case w <- string(b):
	default:
	}
	return len(b), nil
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	tp, dead := cluster.topic(t, 1), cluster.topic(t, 1)
	tp.publish(t, 0, "m")
	c := tp.open(t, nil)
	sink, err := kafkabus.DeadLetter(c.Client(), dead.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	sunk := make(chan error, 1)
	consume(t, c, func(ctx context.Context, m *bus.Message) error {
		sunk <- sink(ctx, bus.DeadLetter{Message: m, ID: "dead.1", Consumer: "billing", Reason: "no such account", Attempt: 3})
		return nil
	})
	if err := bustest.Within(t, sunk, "the sink"); err != nil {
		t.Fatal(err)
	}
	r := next(t, cluster.client(t, kgo.ConsumeTopics(dead.name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	if string(r.Value) != "m" || header(r, "id") != "m" || header(r, kafkabus.HeaderReason) != "no such account" || header(r, kafkabus.HeaderConsumer) != "billing" ||
		header(r, kafkabus.HeaderAttempt) != "3" || header(r, kafkabus.HeaderDeadLetterID) != "dead.1" || header(r, kafkabus.HeaderOriginalTopic) != tp.name {
		t.Errorf("dead letter %+v", r)
	}
	weak := cluster.client(t, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if _, err := kafkabus.DeadLetter(weak, dead.name, nil); err == nil || !strings.Contains(err.Error(), "RequiredAcks") {
		t.Errorf("a client that waits for the leader alone: %v", err)
	}
}

func TestHandle(t *testing.T) {
	r := &kgo.Record{Topic: "orders", Partition: 3, Offset: 7, LeaderEpoch: 2, Timestamp: time.UnixMilli(1700000000123), Value: []byte("v"),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("order-7")}, {Key: "n", Value: []byte("1")}, {Key: "n", Value: []byte("2")}}}
	var got bus.Message
	s := kafkabus.Handle(t.Context(), r, func(_ context.Context, m *bus.Message) error {
		got = *m
		return bus.RetryAfter(errHandler, time.Minute)
	})
	if s.Action != bus.ActionRetry || s.Delay != time.Minute || !errors.Is(s.Err, errHandler) {
		t.Errorf("%+v", s)
	}
	if got.ID != "order-7" || got.Position != "orders/3@2/1700000000123:7" || got.Log != "" || len(got.Header["n"]) != 2 {
		t.Errorf("%+v", got)
	}
	s = kafkabus.Handle(t.Context(), r, func(context.Context, *bus.Message) error { panic("on purpose") })
	if s.Action != bus.ActionRetry {
		t.Errorf("a panic settles as %v", s.Action)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	group := []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1"), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t")}
	for _, tt := range []struct {
		o    kafkabus.Options
		opts []kgo.Opt
		want string
	}{
		{kafkabus.Options{Concurrency: -1}, group, "Options.Concurrency"},
		{kafkabus.Options{MaxOutstanding: -1}, group, "Options.MaxOutstanding"},
		{kafkabus.Options{HoldFor: -1}, group, "Options.HoldFor"},
		{kafkabus.Options{Order: 9}, group, "Options.Order"},
		{kafkabus.Options{RevokeTimeout: time.Hour}, group, "Options.RevokeTimeout"},
		{kafkabus.Options{}, group[:1], "ConsumerGroup"},
	} {
		if _, err := kafkabus.New(&tt.o, tt.opts...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one that names %s", tt.o, err, tt.want)
		}
	}
	c, err := kafkabus.New(&kafkabus.Options{BatchSize: 10, MaxOutstanding: 5}, group...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ConsumeBatch(t.Context(), func(context.Context, []*bus.Message) []error { return nil }); err == nil || !strings.Contains(err.Error(), "MaxOutstanding") {
		t.Errorf("error %v", err)
	}
}
