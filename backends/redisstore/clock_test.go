package redisstore_test

import (
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// watched returns a store, what it logs, and a function that makes it ask.
func watched(t *testing.T, client redis.UniversalClient) (*redisstore.Store, *strings.Builder, func(id string)) {
	var log strings.Builder
	s, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	log.Reset() // what New has to say about the server
	return s, &log, func(id string) {
		t.Helper()
		key, err := claim.NewKey("", "clock", claim.MessageID(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.TryClaim(t.Context(), key, claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStepOfTheServersClockIsReported(t *testing.T) {
	m := redistest.Mini(t)
	s, log, ask := watched(t, m.Client())
	ask("first")
	var want int64
	for _, step := range []time.Duration{time.Second, -time.Second, time.Hour, -2 * time.Hour} {
		m.Advance(step)
		ask(step.String())
		want++
		got := s.Stats()
		if off := got.LastClockStep - step; got.ClockSteps != want || off.Abs() > stepBeyond {
			t.Errorf("after a step of %v: %+v, want %d steps", step, got, want)
		}
	}
	m.Advance(stepBeyond - 100*time.Millisecond)
	ask("small")
	if got := s.Stats().ClockSteps; got != want {
		t.Errorf("%d steps, want %d: the last was small", got, want)
	}
	text := log.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "was stepped") || !strings.Contains(text, "server="+m.Addr()) {
		t.Errorf("the log of four steps within a minute is %q, want one warning that names the server", text)
	}
}

// stepBeyond is what the documentation of Stats says.
const stepBeyond = 500 * time.Millisecond

// Servers need not agree, and the step of one is not that of another.
func TestEachServerHasItsOwnClock(t *testing.T) {
	one, other := redistest.Mini(t), redistest.Mini(t)
	other.Advance(24 * time.Hour)
	ring := redis.NewRing(&redis.RingOptions{
		Addrs: map[string]string{"one": one.Addr(), "other": other.Addr()}, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = ring.Close() })
	s, log, ask := watched(t, ring)
	askBoth := func(round string) {
		for n := range 20 {
			ask(round + strconv.Itoa(n))
		}
	}
	askBoth("before")
	if got := s.Stats().ClockSteps; got != 0 {
		t.Errorf("%d steps, want none: two servers have two clocks", got)
	}
	other.Advance(time.Minute)
	askBoth("after")
	if got := s.Stats().ClockSteps; got != 1 || !strings.Contains(log.String(), "server="+other.Addr()) {
		t.Errorf("%d steps, log %q; want one, of %s", got, log, other.Addr())
	}
}

// Real servers and real time, with calls that are slow, lost and repeated.
func TestAServerThatStandsStillHasNotSteppedItsClock(t *testing.T) {
	server := redistest.StartOwn(t)
	s, log, ask := watched(t, server.Client())
	ask("before")
	server.Stop()
	time.AfterFunc(2*stepBeyond, server.Cont)
	ask("during")
	ask("after")
	if got := s.Stats(); got.ClockSteps != 0 || log.Len() > 0 {
		t.Errorf("%+v, log %q; want no step", got, log)
	}
}

// Replies come late and out of order, clocks drift; steps alone are steps.
func TestClockLooksThroughDelayAndDrift(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	for range 200 {
		var clock redisstore.Clock
		now, ahead := time.Second, upTo(48*time.Hour)-24*time.Hour
		ask := func() (sent, got, shown time.Duration) {
			sent = now
			now += upTo(time.Second)
			shown = now + ahead
			now += upTo(time.Second)
			return sent, now, shown
		}
		calm := func() {
			for range 20 {
				was := now
				now += upTo(time.Minute)
				if random.IntN(4) == 0 {
					now += upTo(10 * time.Hour)
				}
				ahead += upTo((now-was)/1000+1) - (now-was)/2000
				if step := clock.Look(ask()); step != 0 {
					t.Fatalf("a step of %v that nobody made", step)
				}
			}
		}
		for range 5 {
			calm()
			sent, _, shown := ask()
			step := 3*time.Second + upTo(time.Hour)
			if random.IntN(2) == 0 {
				step = -step
			}
			ahead += step
			if found := clock.Look(ask()); found == 0 || found.Abs() > step.Abs() || found > 0 != (step > 0) {
				t.Fatalf("a step of %v is seen as %v, want the same direction and no more", step, found)
			}
			if again := clock.Look(sent, now, shown); again != 0 {
				t.Fatalf("a reply from before a step of %v is seen as one of %v", step, again)
			}
		}
	}
}
