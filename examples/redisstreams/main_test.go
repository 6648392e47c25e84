package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runWith runs the program with -json.
func runWith(ctx context.Context, t *testing.T, args ...string) (o drilltest.Output, s summary) {
	t.Helper()
	o = drilltest.Run(t, &s, func(stdout, stderr io.Writer) int { return run(ctx, append(args, "-json"), stdout, stderr) })
	return o, s
}

// busy is a run in which everything happens that can happen.
var busy = []string{"-messages", "400", "-duplicates", "0.4", "-fail", "0.1", "-panic", "0.03", "-vanish", "0.03"}

func TestNothingIsLostOrDoubled(t *testing.T) {
	for name, args := range map[string]func() []string{
		"miniredis": func() []string { return nil },
		"redis":     func() []string { return []string{"-redis", cmp.Or(os.Getenv("REDIS_URL"), redistest.Start(t).Addr)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for what vanished more than it works
			o, s := runWith(t.Context(), t, append(args(), busy...)...)
			drilltest.Proven(t, o, &s.Summary)
			drilltest.Equal(t, "unique", s.Unique, 400)
			drilltest.Equal(t, "published", s.Published, int64(s.Unique)+s.Copies)
			drilltest.Equal(t, "dead_letters", s.DeadLetters, int64(s.Dead))
			drilltest.Equal(t, "other", s.Other, 0)
			drilltest.Shown(t, map[string]int64{
				"copies": s.Copies, "retried": s.Retried, "panics": s.Panics, "duplicates": s.Duplicates, "vanished": s.Vanished,
			})
			if s.Claimed < s.Vanished {
				t.Errorf("%d entries were taken over, and %d workers vanished", s.Claimed, s.Vanished)
			}
		})
	}
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	o, s := runWith(t.Context(), t, "-messages", "100", "-off")
	if o.Code != 1 || s.DoubleEffects == 0 || s.Lost != 0 || s.Duplicates != 0 {
		t.Errorf("exit status %d: %+v", o.Code, s)
	}
}

func TestInterruptedRunLosesNothing(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	time.AfterFunc(300*time.Millisecond, interrupt)
	o, s := runWith(ctx, t, "-messages", "50000")
	if o.Code != 0 || s.Lost != 0 || s.DoubleEffects != 0 || s.Unsettled == 0 || s.Unique != s.Handled+s.Dead+s.Unsettled {
		t.Errorf("exit status %d: %+v", o.Code, s)
	}
}

func TestWrongFlags(t *testing.T) {
	drilltest.WrongFlags(t, func(args []string, stdout, stderr io.Writer) int {
		return run(t.Context(), args, stdout, stderr)
	}, map[string]string{"-redis redis://:x:y": "-redis", "-workers 0": "-workers is 0"})
}
