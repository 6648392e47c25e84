package redisbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/redistest"
)

// calls returns how often the server has run a command.
func calls(t testing.TB, client redis.UniversalClient, command string) (n int) {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	_, _ = fmt.Sscanf(rest, "%d", &n)
	return n
}

func TestNoMoreIsReadThanThereAreFreeWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const workers = 3
	c := r.open(t, redisbus.Options{Workers: workers})
	r.publish(t, ids(20)...)
	busy, goOn := make(chan bool, 20), make(chan bool)
	stop := consume(t, c, func(context.Context, *bus.Message) error {
		busy <- true
		<-goOn
		return nil
	})
	for range workers {
		bustest.Within(t, busy, "a worker")
	}
	if n := r.pending(t); n != workers {
		t.Errorf("%d entries are pending, want %d", n, workers)
	}
	close(goOn)
	r.settled(t)
	stop()
	if s := c.Stats(); s.Delivered != 20 || s.Acked != 20 {
		t.Errorf("%+v", s)
	}
	if names := r.names(t); len(names) != 0 {
		t.Errorf("names %q are left", names)
	}
}

// The retry of a message whose delay is longer than MinIdle must not be taken over
// by anybody meanwhile, and one whose delay is over does not wait for MinIdle.
func TestADelayIsKeptBesideOtherConsumers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ minIdle, delay time.Duration }{
		{suiteIdle, suiteIdle * 5 / 2},
		{time.Hour, 300 * time.Millisecond},
	} {
		t.Run(tt.delay.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var mu sync.Mutex
			var at []time.Time
			done := make(chan bool, 3)
			for range 3 {
				o := redisbus.Options{MinIdle: tt.minIdle, ClaimInterval: 10 * time.Millisecond, Workers: 2}
				consume(t, r.open(t, o), func(_ context.Context, m *bus.Message) error {
					mu.Lock()
					defer mu.Unlock()
					at = append(at, time.Now())
					if m.Delivery != len(at) {
						t.Errorf("delivery %d says it is number %d", len(at), m.Delivery)
					}
					if len(at) == 1 {
						return bus.RetryAfter(errBoom, tt.delay)
					}
					done <- true
					return nil
				})
			}
			r.publish(t, "1")
			bustest.Within(t, done, "the second delivery")
			mu.Lock()
			defer mu.Unlock()
			if took := at[1].Sub(at[0]); took < tt.delay || took > tt.delay+5*time.Second {
				t.Errorf("came again after %v, want %v", took, tt.delay)
			}
		})
	}
}

// What waits here when the consumer stops is not lost with it, and does not wait
// for longer than its delay.
func TestWhatWaitsAtTheEndIsTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := redisbus.Options{MinIdle: time.Hour, ClaimInterval: 20 * time.Millisecond, Workers: 1}
	failed := make(chan bool, 1)
	c := r.open(t, o)
	stop := consume(t, c, func(context.Context, *bus.Message) error {
		failed <- true
		return bus.RetryAfter(errBoom, 100*time.Millisecond)
	})
	r.publish(t, "1")
	bustest.Within(t, failed, "the handler")
	stop()
	if s := c.Stats(); s.Delivered > 1 {
		t.Skip("the machine was slow, and it came again")
	}
	if names := r.names(t); !slices.Equal(names, []string{c.Name()}) {
		t.Errorf("names are %q: one with pending entries must stay, or they are deleted with it", names)
	}
	got := make(chan int, 1)
	consume(t, r.open(t, o), func(_ context.Context, m *bus.Message) error {
		got <- m.Delivery
		return nil
	})
	if n := bustest.Within(t, got, "the message"); n != 2 {
		t.Errorf("delivery %d, want 2", n)
	}
}

// What arrives while the consumer stops was not looked at, and is not counted as a
// delivery.
func TestWhatArrivesAtTheEndIsGivenBackAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, redisbus.Options{MinIdle: time.Hour})
	messages := 0
	for c.Stats().Returned == 0 { // on a slow machine it may have stopped before
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- c.Consume(ctx, func(_ context.Context, m *bus.Message) error {
				return bus.Abandon(errBoom)
			})
		}()
		bustest.Until(t, "the consumer to wait for entries", func() bool {
			clients, err := r.client.ClientList(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(clients, "flags=b") // blocked
		})
		cancel()
		r.publish(t, fmt.Sprint(messages))
		messages++
		if err := bustest.Within(t, ended, "the end"); err != nil {
			t.Error(err)
		}
		if messages > 20 {
			t.Fatal("nothing arrived in time")
		}
	}
	got := make(chan int, messages)
	consume(t, r.open(t, redisbus.Options{MinIdle: time.Hour, ClaimInterval: 20 * time.Millisecond}), func(_ context.Context, m *bus.Message) error {
		if m.ID == fmt.Sprint(messages-1) {
			got <- m.Delivery
		}
		return nil
	})
	if n := bustest.Within(t, got, "the message"); n != 1 {
		t.Errorf("delivery %d, want 1", n)
	}
}

// An entry that waits here for a retry and is another's by then is not delivered.
func TestARetryOfATakenEntryIsDropped(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*rig{"redis": newRig(t), "miniredis": newMini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := make(chan string, 9)
			c := r.open(t, redisbus.Options{MinIdle: time.Hour})
			consume(t, c, func(_ context.Context, m *bus.Message) error {
				failed <- m.Raw.(*redisbus.Entry).ID
				return bus.RetryAfter(errBoom, time.Second)
			})
			r.publish(t, "1")
			id := bustest.Within(t, failed, "the handler")
			a := &redis.XClaimArgs{Stream: r.stream, Group: r.group, Consumer: "other", Messages: []string{id}}
			if err := r.client.XClaim(t.Context(), a).Err(); err != nil {
				t.Fatal(err)
			}
			bustest.Until(t, "the retry to be dropped", func() bool { return c.Stats().Taken == 1 })
			if n := c.Stats().Delivered; n != 1 {
				t.Errorf("%d deliveries, want 1", n)
			}
		})
	}
}

// Messages that fail all the time must not make the consumer ask all the time.
func TestNoHotLoop(t *testing.T) {
	t.Parallel()
	s := redistest.StartOwn(t)
	r := rigOn(s.Client(), "")
	c := r.open(t, redisbus.Options{Workers: 4, Backoff: func(int) time.Duration { return 200 * time.Millisecond }})
	var runs atomic.Int64
	stop := consume(t, c, func(context.Context, *bus.Message) error {
		runs.Add(1)
		return errBoom
	})
	began := time.Now()
	r.publish(t, ids(20)...)
	bustest.Until(t, "a hundred runs", func() bool { return runs.Load() >= 100 })
	stop()
	took := time.Since(began)
	most := 300 + int(took/(20*time.Millisecond))
	for _, command := range []string{"xreadgroup", "evalsha", "xautoclaim", "xclaim"} {
		if n := calls(t, r.client, command); n > most {
			t.Errorf("%d calls of %s in %v for %d runs", n, command, took, runs.Load())
		}
	}
}

// An idle consumer asks about once a second.
func TestAnIdleConsumerIsQuiet(t *testing.T) {
	t.Parallel()
	s := redistest.StartOwn(t)
	r := rigOn(s.Client(), "")
	c := r.open(t, redisbus.Options{})
	began := time.Now()
	consume(t, c, func(context.Context, *bus.Message) error { return nil })
	bustest.Until(t, "three reads", func() bool { return calls(t, r.client, "xreadgroup") >= 3 })
	if took := time.Since(began); took < time.Second {
		t.Errorf("three reads in %v", took)
	}
}

func TestSoManyWaitAndNoMoreAreTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, redisbus.Options{Workers: 4, MaxWaiting: 5, Backoff: func(int) time.Duration { return 100 * time.Millisecond }})
	var mu sync.Mutex
	seen := map[string]int{}
	again := make(chan bool, 1)
	consume(t, c, func(_ context.Context, m *bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[m.ID]++; seen[m.ID] == 5 {
			select {
			case again <- true:
			default:
			}
		}
		return errBoom
	})
	r.publish(t, ids(50)...)
	bustest.Within(t, again, "a fifth delivery")
	mu.Lock()
	defer mu.Unlock()
	if len(seen) > 5+4 { // and those that were read for free workers at the last moment
		t.Errorf("%d messages were taken", len(seen))
	}
}

func TestKeepAlivesLeaveTogether(t *testing.T) {
	t.Parallel()
	s := redistest.StartOwn(t)
	r := rigOn(s.Client(), "")
	const messages = 100
	c := r.open(t, redisbus.Options{MinIdle: time.Second, ClaimInterval: 50 * time.Millisecond, Workers: messages})
	kept := make(chan *bus.Message, messages)
	goOn := make(chan bool)
	consume(t, c, func(_ context.Context, m *bus.Message) error {
		kept <- m
		<-goOn
		return nil
	})
	r.publish(t, ids(messages)...)
	var all []*bus.Message
	for range messages {
		all = append(all, bustest.Within(t, kept, "a message"))
	}
	rounds, began := 0, time.Now()
	for ; time.Since(began) < 2*time.Second; rounds++ {
		for _, m := range all {
			if err := m.KeepAlive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	if n := calls(t, r.client, "xclaim"); n < messages {
		t.Errorf("%d entries were kept in %d rounds", n, rounds)
	}
	if n := calls(t, r.client, "evalsha"); n > 12*rounds {
		t.Errorf("%d calls kept %d messages in %d rounds", n, messages, rounds)
	}
	close(goOn)
	r.settled(t)
	if n := c.Stats().Delivered; n != messages {
		t.Errorf("%d deliveries", n)
	}
}

// Whose entry was given to another is told, and does not take it back.
func TestKeepAliveOfATakenEntry(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*rig{"redis": newRig(t), "miniredis": newMini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := r.open(t, redisbus.Options{Workers: 1})
			got, goOn := make(chan *bus.Message, 1), make(chan bool)
			consume(t, c, func(_ context.Context, m *bus.Message) error {
				got <- m
				<-goOn
				return bus.Abandon(errBoom)
			})
			r.publish(t, "1")
			m := bustest.Within(t, got, "the message")
			if err := m.KeepAlive(t.Context()); err != nil {
				t.Fatal(err)
			}
			id := m.Raw.(*redisbus.Entry).ID
			claimed, err := r.client.XClaimJustID(t.Context(), &redis.XClaimArgs{Stream: r.stream, Group: r.group, Consumer: "other", Messages: []string{id}}).Result()
			if err != nil || len(claimed) != 1 {
				t.Fatal(claimed, err)
			}
			bustest.Until(t, "the keep-alive to fail", func() bool { return errors.Is(m.KeepAlive(t.Context()), redisbus.ErrTaken) })
			pending, err := r.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: r.stream, Group: r.group, Start: "-", End: "+", Count: 9}).Result()
			if err != nil || len(pending) != 1 || pending[0].Consumer != "other" {
				t.Errorf("pending: %v, %v", pending, err)
			}
			close(goOn)
		})
	}
}

func TestNamesOfConsumersThatAreGoneAreRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(t, redisbus.Options{})
	r.publish(t, "1")
	if err := r.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: r.group, Consumer: "has one", Streams: []string{r.stream, ">"}, Count: 1}).Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone", "gone too"} {
		if err := r.client.XGroupCreateConsumer(t.Context(), r.stream, r.group, name).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c := r.open(t, redisbus.Options{ForgetAfter: 200 * time.Millisecond})
	consume(t, c, func(context.Context, *bus.Message) error { return nil })
	bustest.Until(t, "the names to go", func() bool {
		names := r.names(t)
		return !slices.Contains(names, "gone") && !slices.Contains(names, "gone too")
	})
	if names := r.names(t); !slices.Contains(names, "has one") {
		t.Errorf("names are %q", names)
	}
	if n := r.pending(t); n != 1 {
		t.Errorf("%d entries are pending, want 1", n)
	}
}

func TestTrimLeavesWhatSomeGroupHasNotSettled(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*rig{"redis": newRig(t), "miniredis": newMini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const messages = 1000
			r.publish(t, ids(messages)...)
			other := &rig{client: r.client, stream: r.stream, group: "other"}
			for _, g := range []*rig{r, other} {
				if err := g.client.XGroupCreateMkStream(t.Context(), g.stream, g.group, "0").Err(); err != nil {
					t.Fatal(err)
				}
			}
			read := func(n int64) []redis.XMessage {
				res, err := r.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "other", Consumer: "slow", Streams: []string{r.stream, ">"}, Count: n}).Result()
				if err != nil {
					t.Fatal(err)
				}
				return res[0].Messages
			}
			c := r.open(t, redisbus.Options{TrimEvery: 20 * time.Millisecond})
			var did effects
			consume(t, c, did.handler)
			bustest.Until(t, "all messages", func() bool { return c.Stats().Acked == messages })
			trimmed := c.Stats().Trimmed
			if trimmed != 0 {
				t.Errorf("%d entries were trimmed that the other group was not given", trimmed)
			}
			// The other group has one entry pending: all before it may go.
			first := read(500)
			var settled []string
			for i, m := range first {
				if i != 300 {
					settled = append(settled, m.ID)
				}
			}
			if err := r.client.XAck(t.Context(), r.stream, "other", settled...).Err(); err != nil {
				t.Fatal(err)
			}
			bustest.Until(t, "trimming", func() bool { return c.Stats().Trimmed >= 100 })
			bustest.Until(t, "one more look", func() bool {
				before := c.Stats().Trimmed
				<-time.After(50 * time.Millisecond)
				return c.Stats().Trimmed == before
			})
			if n := c.Stats().Trimmed; n > 300 {
				t.Errorf("%d entries were trimmed, and one before them is pending", n)
			}
			if left, err := r.client.XRange(t.Context(), r.stream, first[300].ID, first[300].ID).Result(); err != nil || len(left) != 1 {
				t.Errorf("the pending entry is gone: %v", err)
			}
			if err := r.client.XAck(t.Context(), r.stream, "other", first[300].ID).Err(); err != nil {
				t.Fatal(err)
			}
			rest := read(messages)
			if len(rest) != messages-500 {
				t.Errorf("the other group was given %d more, want %d", len(rest), messages-500)
			}
		})
	}
}

// Whoever trims a stream by its length takes messages from the group.
func TestMessagesThatWereDeletedAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	c := r.open(t, redisbus.Options{MinIdle: 300 * time.Millisecond, ClaimInterval: 20 * time.Millisecond, Workers: 1, Logger: logger})
	r.publish(t, "abandoned", "retried")
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		id := m.Raw.(*redisbus.Entry).ID
		if err := r.client.XDel(t.Context(), r.stream, id).Err(); err != nil {
			t.Error(err)
		}
		if m.ID == "retried" {
			return bus.RetryAfter(errBoom, 0)
		}
		return bus.Abandon(errBoom)
	})
	bustest.Until(t, "both to be found deleted", func() bool { return c.Stats().Deleted == 2 })
	stop()
	if n := r.pending(t); n != 0 {
		t.Errorf("%d are pending", n)
	}
	if text := log.String(); !strings.Contains(text, "removed from the stream") || strings.Contains(text, "abandoned") {
		t.Errorf("the log says:\n%s", text)
	}
}

func TestOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := rigOn(cluster.Client(), "")
	sink, err := redisbus.DeadLetter(r.client, "another slot", nil)
	if err != nil {
		t.Fatal(err)
	}
	const messages = 200
	c := r.open(t, redisbus.Options{Rejected: sink, Backoff: func(int) time.Duration { return time.Millisecond }})
	r.publish(t, ids(messages)...)
	var did effects
	consume(t, c, func(ctx context.Context, m *bus.Message) error {
		switch {
		case m.ID == "7":
			return bus.Reject(errBoom)
		case m.Delivery == 1 && len(m.ID) == 1:
			return errBoom
		}
		return did.handler(ctx, m)
	})
	r.settled(t)
	did.once(t, messages-1)
	if n := r.client.XLen(t.Context(), "another slot").Val(); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// Without a decoder of its own the third version of the protocol would read as
// garbage, or the second.
func TestBothProtocols(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for _, version := range []int{2, 3} {
		o := s.Options()
		o.Protocol = version
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		r := rigOn(client, s.Prefix)
		var did effects
		consume(t, r.open(t, redisbus.Options{Backoff: func(int) time.Duration { return 0 }}), func(ctx context.Context, m *bus.Message) error {
			if m.Delivery == 1 {
				return errBoom
			}
			return did.handler(ctx, m)
		})
		r.publish(t, ids(10)...)
		r.settled(t)
		did.once(t, 10)
	}
}
