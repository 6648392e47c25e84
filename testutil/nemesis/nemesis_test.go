//go:build linux

package nemesis_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/oncebus/once/testutil/nemesis"
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
