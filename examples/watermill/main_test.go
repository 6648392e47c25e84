package main

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runWith runs the program with -json.
func runWith(ctx context.Context, t *testing.T, args ...string) (o drilltest.Output, s summary) {
	t.Helper()
	o = drilltest.Run(t, &s, func(stdout, stderr io.Writer) int { return run(ctx, append(args, "-json"), stdout, stderr) })
	return o, s
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	o, s := runWith(t.Context(), t, "-messages", "500", "-fail", "0.2", "-panic", "0.05", "-vanish", "0.05")
	drilltest.Proven(t, o, &s.Summary)
	drilltest.Equal(t, "unique", s.Unique, 500)
	drilltest.Equal(t, "published", s.Published, int64(s.Unique)+s.Copies)
	drilltest.Equal(t, "deliveries, by cause", s.Deliveries, 2*s.Published+s.Retried+s.Pending+s.Vanished)
	drilltest.Equal(t, "other", s.Other, 0)
	drilltest.Shown(t, map[string]int64{
		"copies": s.Copies, "retried": s.Retried, "panics": s.Panics, "duplicates": s.Duplicates, "vanished": s.Vanished,
	})
}

// An order that always fails is given up, and not lost.
func TestOrdersAreGivenUp(t *testing.T) {
	o, s := runWith(t.Context(), t, "-messages", "20", "-fail", "1")
	drilltest.Proven(t, o, &s.Summary)
	drilltest.Equal(t, "dead", s.Dead, 20)
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
	time.AfterFunc(100*time.Millisecond, interrupt)
	o, s := runWith(ctx, t, "-messages", "5000000")
	drilltest.Proven(t, o, &s.Summary)
}

func TestWrongFlags(t *testing.T) {
	drilltest.WrongFlags(t, func(args []string, stdout, stderr io.Writer) int {
		return run(t.Context(), args, stdout, stderr)
	}, map[string]string{"-messages -1": "-messages is -1", "-fail 2": "-fail is 2", "order": "order", "-no": "-no"})
}
