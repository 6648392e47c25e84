package main

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
	"github.com/oncebus/once/testutil/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Tests(m)) }

// runWith runs the program with -json.
func runWith(ctx context.Context, t *testing.T, args ...string) (o drilltest.Output, s summary) {
	t.Helper()
	o = drilltest.Run(t, &s, func(stdout, stderr io.Writer) int { return run(ctx, append(args, "-json"), stdout, stderr) })
	return o, s
}

// busy is a run in which everything happens that can happen.
var busy = []string{"-messages", "800", "-duplicates", "0.4", "-fail", "0.1", "-panic", "0.03", "-vanish", "0.03"}

func TestNothingIsLostOrDoubled(t *testing.T) {
	for name, args := range map[string]func(*testing.T) []string{
		"kfake": func(*testing.T) []string { return nil },
		"Kafka": func(t *testing.T) []string { return []string{"-brokers", kafkatest.Start(t).Addr} },
	} {
		t.Run(name, func(t *testing.T) {
			o, s := runWith(t.Context(), t, append(args(t), busy...)...)
			drilltest.Proven(t, o, &s.Summary)
			drilltest.Equal(t, "unique", s.Unique, 800)
			drilltest.Equal(t, "published", s.Published, int64(s.Unique)+s.Copies)
			drilltest.Equal(t, "dead_letters", s.DeadLetters, int64(s.Dead))
			drilltest.Equal(t, "other", s.Other, s.StoreDown) // the embedded Redis, on a busy machine
			drilltest.Shown(t, map[string]int64{
				"copies": s.Copies, "retried": s.Retried, "panics": s.Panics, "duplicates": s.Duplicates, "vanished": s.Vanished, "revoked": s.Revoked,
			})
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
	}, map[string]string{"-redis redis://:x:y": "-redis", "-redis 127.0.0.1:1": "kafka: ", "-workers 0": "-workers is 0", "-rebalances -1": "-rebalances is -1",
		"-brokers host:port": "-brokers"})
}
