//go:build linux

package nemesis_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/testutil/nemesis"
	"github.com/oncebus/once/testutil/sqltest"
)

// TestMain lets the test binary be its own workers and its own bus.
func TestMain(m *testing.M) {
	nemesis.Main()
	os.Exit(m.Run())
}

func needServers(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("ONCE_REQUIRE_SERVERS") == "1" {
		t.Fatal(nemesis.ErrNoRedis)
	}
	t.Skip(nemesis.ErrNoRedis)
}

func carryOut(t *testing.T, trial nemesis.Trial) *nemesis.Result {
	t.Helper()
	needServers(t)
	r, err := nemesis.Run(t.Context(), trial)
	if errors.Is(err, sqltest.ErrNotInstalled) && os.Getenv("ONCE_REQUIRE_SERVERS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d orders, %d deliveries, %d runs, %d effects, second executions %v, overlaps %v, hits %v, takeovers %v, in %v",
		r.Orders, r.Deliveries, r.Runs, r.Effects, r.Seconds, r.Overlaps, r.Hits, r.Takeovers, r.Elapsed)
	for _, f := range r.Failures {
		t.Error(f)
	}
	return r
}

func answer(a nemesis.Action) func(*nemesis.World, nemesis.Hit) nemesis.Action {
	return func(*nemesis.World, nemesis.Hit) nemesis.Action { return a }
}

func plan(orders, hits int, points ...nemesis.Point) nemesis.Worker {
	return nemesis.Worker{Plan: nemesis.Plan{Points: points, Stride: max(1, orders/hits)}}
}

func TestKilledAfterTheEffectRunsAgainElsewhere(t *testing.T) {
	t.Parallel()
	r := carryOut(t, nemesis.Trial{
		Fault: "F1", Name: "kill", Orders: 200, Worker: plan(200, 2, nemesis.P5), Hit: answer(nemesis.Kill),
	})
	if r.Kills != 2 || r.Doubled() < 2 || r.Lost != 0 {
		t.Errorf("%d kills, %d second executions, %d lost; want 2, at least 2, 0", r.Kills, r.Doubled(), r.Lost)
	}
}

func TestLostReplyOfAClaimGoesUnnoticed(t *testing.T) {
	t.Parallel()
	r := carryOut(t, nemesis.Trial{
		Fault: "F4", Name: "reply lost", Orders: 200, Worker: plan(200, 2, nemesis.P2), Hit: answer(nemesis.Drop),
	})
	if r.Doubled() != 0 || r.Expiries != 0 || r.Effects != r.Orders {
		t.Errorf("%d second executions, %d leases ran out, %d effects of %d orders", r.Doubled(), r.Expiries, r.Effects, r.Orders)
	}
}

func TestStoppedOwnerIsSupersededAndRefused(t *testing.T) {
	t.Parallel()
	w := plan(100, 1, nemesis.P4)
	w.Fenced = true
	r := carryOut(t, nemesis.Trial{Fault: "F2", Name: "stop", Orders: 100, Worker: w, Hit: answer(nemesis.Stop)})
	hits := r.HitsAt(nemesis.P4)
	if len(hits) != 1 {
		t.Fatalf("%d hits, want 1", len(hits))
	}
	// A busy machine may stop other workers for longer than their leases too.
	if n := r.AcceptedOf(hits[0].Order); n != 1 || r.Refused < 1 {
		t.Errorf("the sink accepted %d writes of the order and refused %d, want 1 and at least 1", n, r.Refused)
	}
	if r.Workers.Dedupe.LostCommits < 1 || r.EffectsOf(hits[0].Order) < 2 {
		t.Errorf("%d stale commits refused, %d effects; want at least 1 and, without the sink's word, 2", r.Workers.Dedupe.LostCommits, r.EffectsOf(hits[0].Order))
	}
}

// The judge must see what it is there to see.
func TestMarkBeforeRunLosesMessages(t *testing.T) {
	t.Parallel()
	w := plan(100, 2, nemesis.P4)
	w.Mode = nemesis.ModeSetNX
	if r := carryOut(t, nemesis.Trial{Fault: "F1", Name: "SET NX", Orders: 100, Worker: w, Hit: answer(nemesis.Kill)}); r.Lost == 0 {
		t.Error("no message was lost by a consumer that marks before it runs")
	}
}

func TestNoDeduplicationDoubles(t *testing.T) {
	t.Parallel()
	w := plan(100, 1, nemesis.P5)
	w.Mode = nemesis.ModeOff
	if r := carryOut(t, nemesis.Trial{Fault: "F1", Name: "off", Orders: 100, Worker: w, Hit: answer(nemesis.Kill)}); r.Doubled() == 0 {
		t.Error("nothing ran twice without deduplication")
	}
}

func TestStoreStepsItsClock(t *testing.T) {
	t.Parallel()
	needServers(t)
	clock, err := nemesis.NewClock(t.TempDir())
	if errors.Is(err, nemesis.ErrNoClock) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := nemesis.StartRedis(t.TempDir(), clock)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour} {
		if err := clock.Step(step); err != nil {
			t.Fatal(err)
		}
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	now, err := client.Time(t.Context()).Result()
	if behind := time.Since(now) - time.Hour; err != nil || behind.Abs() > 5*time.Second {
		t.Errorf("the server's clock says %v (%v), want an hour ago", now, err)
	}
}
