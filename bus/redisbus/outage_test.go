package redisbus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/redistest"
)

// dial returns a client of addr that the test closes.
func dial(t testing.TB, addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// outageOptions are for short ends.
func outageOptions() redisbus.Options {
	return redisbus.Options{
		MinIdle: time.Second, ClaimInterval: 100 * time.Millisecond, Workers: 4, BatchSize: 20, AckTimeout: 500 * time.Millisecond,
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	}
}

// door runs one of the two doors with one handler.
func door(ctx context.Context, c *redisbus.Consumer, batch bool, h bus.Handler) error {
	if !batch {
		return c.Consume(ctx, h)
	}
	return c.ConsumeBatch(ctx, func(ctx context.Context, ms []*bus.Message) []error {
		errs := make([]error, len(ms))
		for i, m := range ms {
			errs[i] = h(ctx, m)
		}
		return errs
	})
}

func bothDoors(t *testing.T, run func(t *testing.T, batch bool)) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		t.Run(map[bool]string{false: "Consume", true: "ConsumeBatch"}[batch], func(t *testing.T) {
			t.Parallel()
			run(t, batch)
		})
	}
}

// With an append-only file that is written at once, a restart loses nothing.
func TestARestartInMidConsumptionLosesNothing(t *testing.T) {
	bothDoors(t, func(t *testing.T, batch bool) {
		const messages = 400
		s := redistest.StartOwn(t, "--appendonly", "yes", "--appendfsync", "always")
		r := rigOn(s.Client(), "")
		c := r.open(t, outageOptions())
		r.publish(t, ids(messages)...)
		var did effects
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- door(ctx, c, batch, did.handler) }()
		bustest.Until(t, "half of the messages", func() bool { return did.total() >= messages/2 })
		s.Restart()
		bustest.Until(t, "all messages", func() bool { return len(did.seen()) == messages })
		r.settled(t)
		cancel()
		if err := bustest.Within(t, ended, "the end"); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.Remade != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Without persistence the stream is gone. A consumer that was asked to make groups
// goes on.
func TestARestartThatLosesEverything(t *testing.T) {
	bothDoors(t, func(t *testing.T, batch bool) {
		s := redistest.StartOwn(t)
		r := rigOn(s.Client(), "")
		c := r.open(t, outageOptions())
		var did effects
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- door(ctx, c, batch, did.handler) }()
		r.publish(t, "before")
		bustest.Until(t, "a message", func() bool { return did.total() == 1 })
		s.Restart()
		r.publish(t, "after") // and the group, if it has not been made yet, must not miss it
		bustest.Until(t, "the other message", func() bool { return len(did.seen()) == 2 })
		s.Restart()
		bustest.Until(t, "the group to be made again", func() bool { return c.Stats().Remade == 2 })
		cancel()
		if err := bustest.Within(t, ended, "the end"); err != nil {
			t.Error(err)
		}
	})
}

func TestNothingLeftToConsume(t *testing.T) {
	for _, tt := range []struct {
		name   string
		remove func(ctx context.Context, r *rig) error
		want   error
	}{
		{"stream deleted", func(ctx context.Context, r *rig) error { return r.client.Del(ctx, r.stream).Err() }, redisbus.ErrNoGroup},
		{"group destroyed", func(ctx context.Context, r *rig) error { return r.client.XGroupDestroy(ctx, r.stream, r.group).Err() }, redisbus.ErrNoGroup},
		{"client closed", func(_ context.Context, r *rig) error { return r.client.Close() }, redis.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothDoors(t, func(t *testing.T, batch bool) {
				s := redistest.Start(t)
				r := rigOn(s.Client(), s.Prefix)
				r.open(t, redisbus.Options{})
				c, err := redisbus.New(t.Context(), r.client, r.stream, r.group, &redisbus.Options{Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan bool, 1)
				ended := make(chan error, 1)
				go func() {
					ended <- door(t.Context(), c, batch, func(context.Context, *bus.Message) error {
						got <- true
						return nil
					})
				}()
				r.publish(t, "1")
				bustest.Within(t, got, "a message")
				bustest.Until(t, "its ack", func() bool { return c.Stats().Acked == 1 })
				if err := tt.remove(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if err := bustest.Within(t, ended, "the end"); !errors.Is(err, tt.want) {
					t.Errorf("ended with %v, want %v", err, tt.want)
				}
			})
		})
	}
}

// A group that is made anew begins after what it had settled, and not with all that
// the stream still has.
func TestADestroyedGroupBeginsWhereItWas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(t, "before the group")
	first := r.open(t, redisbus.Options{CreateFrom: "$"})
	var did effects
	stop := consume(t, first, did.handler)
	r.publish(t, "1", "2")
	r.settled(t)
	stop()

	started, before, after := make(chan bool, 9), make(chan bool), make(chan bool)
	var runs atomic.Int64
	c := r.open(t, redisbus.Options{CreateFrom: "$", Workers: 3}) // which looks where the group is
	consume(t, c, func(ctx context.Context, m *bus.Message) error {
		switch {
		case m.ID == "3" && runs.Add(1) == 1:
			started <- true
			<-before
		case m.ID == "3":
			<-after
		}
		return did.handler(ctx, m)
	})
	r.publish(t, "3")
	bustest.Within(t, started, "the first delivery of 3")
	if err := r.client.XGroupDestroy(t.Context(), r.stream, r.group).Err(); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the group to be made again", func() bool { return c.Stats().Remade == 1 })
	r.publish(t, "4")
	bustest.Until(t, "3 alone to be pending again", func() bool { return did.seen()["4"] == 1 && r.pending(t) == 1 })
	close(before)
	bustest.Until(t, "the ack of the life before to be dropped", func() bool { return c.Stats().Stale == 1 })
	if n := r.pending(t); n != 1 {
		t.Errorf("%d are pending: the ack of the life before hit the delivery of this one", n)
	}
	close(after)
	r.settled(t)
	seen := did.seen()
	if seen["1"] != 1 || seen["2"] != 1 || seen["3"] != 2 || seen["4"] != 1 || len(seen) != 4 {
		t.Errorf("ran %v, want 1, 2 and 4 once and 3, whose delivery was forgotten, twice", seen)
	}
}

func TestConnectionsThatAreCut(t *testing.T) {
	bothDoors(t, func(t *testing.T, batch bool) {
		const messages = 300
		s := redistest.Start(t)
		p := netproxy.New(t, s.Addr)
		direct := rigOn(s.Client(), s.Prefix)
		through := &rig{client: dial(t, p.Addr()), stream: direct.stream, group: direct.group}
		c := through.open(t, outageOptions())
		direct.publish(t, ids(messages)...)
		var did effects
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- door(ctx, c, batch, func(ctx context.Context, m *bus.Message) error {
				if n := did.total(); n%50 == 25 {
					p.Cut()
				}
				return did.handler(ctx, m)
			})
		}()
		direct.settled(t)
		cancel()
		if err := bustest.Within(t, ended, "the end"); err != nil && !errors.Is(err, redisbus.ErrUnsettled) {
			t.Error(err)
		}
		if n := len(did.seen()); n != messages {
			t.Errorf("%d of %d messages", n, messages)
		}
	})
}

// Each reply is lost once. What a lost reply brought is taken over, at the latest.
func TestRepliesThatAreLost(t *testing.T) {
	for _, command := range []string{"XREADGROUP", "xack", "retry", "keep", "XAUTOCLAIM"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p := netproxy.New(t, s.Addr)
			direct := rigOn(s.Client(), s.Prefix)
			through := &rig{client: dial(t, p.Addr()), stream: direct.stream, group: direct.group}
			match := command
			if digest := redisbus.Digests[command]; digest != "" {
				match = digest
			}
			// With the script on the server, so that it is called by its digest.
			var did effects
			warm := through.open(t, outageOptions())
			var failed atomic.Bool
			handler := func(ctx context.Context, m *bus.Message) error {
				if m.Delivery == 1 {
					return bus.RetryAfter(errBoom, 700*time.Millisecond) // and a keep-alive meanwhile
				}
				failed.Store(true)
				return did.handler(ctx, m)
			}
			stop := consume(t, warm, handler)
			direct.publish(t, "warm")
			direct.settled(t)
			stop()

			trap := p.CutAt(netproxy.BeforeReply, match)
			o := outageOptions()
			if command == "retry" {
				o.MinIdle = time.Hour // nobody takes over what its copy must deliver
			}
			consume(t, through.open(t, o), handler)
			direct.publish(t, "1", "2")
			bustest.Within(t, trap.Sprung(), "the trap")
			direct.settled(t)
			if seen := did.seen(); seen["1"] < 1 || seen["2"] < 1 {
				t.Errorf("ran %v", seen)
			}
		})
	}
}

func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	s := redistest.StartOwn(t)
	r := rigOn(s.Client(), "")
	c := r.open(t, outageOptions())
	var did effects
	got := make(chan *bus.Message, 1)
	goOn := make(chan bool)
	consume(t, c, func(ctx context.Context, m *bus.Message) error {
		if m.ID == "held" && m.Delivery == 1 {
			got <- m
			<-goOn
		}
		return did.handler(ctx, m)
	})
	r.publish(t, "held")
	m := bustest.Within(t, got, "the message")
	s.Stop()
	bustest.Until(t, "keep-alives to fail", func() bool { return m.KeepAlive(t.Context()) != nil })
	close(goOn)
	s.Cont()
	r.publish(t, "after")
	r.settled(t)
	if seen := did.seen(); seen["held"] < 1 || seen["after"] != 1 {
		t.Errorf("ran %v", seen)
	}
}

// Acks that cannot be told are an error of Consume, and their messages come again.
func TestAcksThatDoNotArrive(t *testing.T) {
	t.Parallel()
	s := redistest.StartOwn(t)
	client := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	r := rigOn(client, "")
	c := r.open(t, redisbus.Options{AckTimeout: 200 * time.Millisecond, Workers: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Consume(ctx, func(context.Context, *bus.Message) error {
			s.Kill()
			cancel()
			return nil
		})
	}()
	r.publish(t, "1")
	if err := bustest.Within(t, ended, "the end"); !errors.Is(err, redisbus.ErrUnsettled) || strings.Contains(err.Error(), "-0") {
		t.Errorf("ended with %v, want ErrUnsettled", err)
	}
	if n := c.Stats().Unsettled; n != 1 {
		t.Errorf("%d unsettled, want 1", n)
	}
}

// What replicas had not been told is lost or comes again; the consumer goes on.
func TestAFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	r := rigOn(s.Client(), "")
	c := r.open(t, outageOptions())
	var did effects
	consume(t, c, did.handler)
	r.publish(t, ids(50)...)
	bustest.Until(t, "all messages", func() bool { return len(did.seen()) == 50 })
	if err := s.Primary.Client().Wait(t.Context(), 1, 5*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	s.Primary.Kill()
	s.AwaitFailover()
	r.publish(t, "after")
	bustest.Until(t, "the message after the failover", func() bool { return did.seen()["after"] > 0 })
	r.settled(t)
}
