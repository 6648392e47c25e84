package main

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
	"github.com/oncebus/once/testutil/amqptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(amqptest.Tests(m)) }

// runWith runs the program with -json, on the node that the tests share.
func runWith(ctx context.Context, t *testing.T, args ...string) (o drilltest.Output, s summary) {
	t.Helper()
	args = append(args, "-json", "-amqp", amqptest.Start(t).URL())
	o = drilltest.Run(t, &s, func(stdout, stderr io.Writer) int { return run(ctx, args, stdout, stderr) })
	return o, s
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	// Everything happens that can happen.
	o, s := runWith(t.Context(), t, "-messages", "600", "-duplicates", "0.4", "-fail", "0.1", "-panic", "0.03", "-vanish", "0.03", "-cuts", "3")
	drilltest.Proven(t, o, &s.Summary)
	drilltest.Equal(t, "unique", s.Unique, 600)
	drilltest.Equal(t, "published", s.Published, int64(s.Unique)+s.Copies)
	drilltest.Equal(t, "dead_letters", s.DeadLetters, int64(s.Dead))
	drilltest.Equal(t, "other", s.Other, s.StoreDown) // of a machine that is too busy
	drilltest.Shown(t, map[string]int64{
		"copies": s.Copies, "retried": s.Retried, "panics": s.Panics, "duplicates": s.Duplicates, "vanished": s.Vanished, "stale": s.Stale,
	})
}

// Orders that are given up are dead letters, each once.
func TestWhatIsGivenUpIsADeadLetter(t *testing.T) {
	o, s := runWith(t.Context(), t, "-messages", "10", "-fail", "0.9", "-cuts", "0")
	drilltest.Proven(t, o, &s.Summary)
	drilltest.Equal(t, "dead_letters", s.DeadLetters, int64(s.Dead))
	drilltest.Shown(t, map[string]int64{"dead_letters": s.DeadLetters})
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	o, s := runWith(t.Context(), t, "-messages", "100", "-off")
	if o.Code != 1 || s.DoubleEffects == 0 || s.Lost != 0 || s.Duplicates != 0 {
		t.Errorf("exit status %d: %+v", o.Code, s)
	}
}

func TestInterruptedRunLosesNothing(t *testing.T) {
	amqptest.Start(t) // before the clock runs
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	time.AfterFunc(1500*time.Millisecond, interrupt)
	o, s := runWith(ctx, t, "-messages", "200000")
	if o.Code != 0 || s.Lost != 0 || s.DoubleEffects != 0 || s.Unsettled == 0 || s.Unique != s.Handled+s.Dead+s.Unsettled {
		t.Errorf("exit status %d: %+v", o.Code, s)
	}
}

func TestWrongFlags(t *testing.T) {
	drilltest.WrongFlags(t, func(args []string, stdout, stderr io.Writer) int {
		return run(t.Context(), args, stdout, stderr)
	}, map[string]string{"-redis redis://:x:y": "-redis", "-amqp amqp://127.0.0.1:1": "rabbitmq: ", "-amqp http://x": "-amqp", "-workers 0": "-workers is 0", "-cuts -1": "-cuts is -1"})
}
