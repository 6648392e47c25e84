package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runWith runs the program with -json and reads its last line.
func runWith(t *testing.T, args ...string) (code int, s summary) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append(args, "-json"), &stdout, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatalf("exit status %d: the last line is not the summary: %v\n%s%s", code, err, stdout.String(), stderr.String())
	}
	if !strings.Contains(stderr.String(), "CHARGED MORE THAN ONCE") {
		t.Error("with -json the table goes to the standard error")
	}
	return code, s
}

// busy is a run in which everything happens that can happen.
var busy = []string{"-messages", "400", "-duplicates", "0.4", "-fail", "0.1", "-panic", "0.03", "-vanish", "0.03"}

func TestNothingIsLostOrDoubled(t *testing.T) {
	for name, args := range map[string]func() []string{
		"miniredis": func() []string { return nil },
		"redis":     func() []string { return []string{"-redis", cmp.Or(os.Getenv("REDIS_URL"), redistest.Start(t).Addr)} },
	} {
		t.Run(name, func(t *testing.T) {
			code, s := runWith(t, append(args(), busy...)...)
			if code != 0 || s.Lost != 0 || s.DoubleEffects != 0 || s.Unique != 400 || s.Charges != int64(s.Handled) {
				t.Errorf("exit status %d: %+v", code, s)
			}
			if s.Unique != s.Handled+s.Dead || s.Unsettled != 0 || s.Published != int64(s.Unique)+s.Copies || s.DeadLetters != int64(s.Dead) ||
				s.Deliveries != s.Charges+s.Retried+s.Duplicates+s.Pending+s.GivenUp+s.Other || s.Other != 0 {
				t.Errorf("the numbers do not add up: %+v", s)
			}
			if s.Copies == 0 || s.Retried == 0 || s.Panics == 0 || s.Duplicates == 0 || s.Vanished == 0 || s.Claimed < s.Vanished {
				t.Errorf("the run shows nothing of something: %+v", s)
			}
		})
	}
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	code, s := runWith(t, "-messages", "100", "-off")
	if code != 1 || s.DoubleEffects == 0 || s.Lost != 0 || s.Duplicates != 0 {
		t.Errorf("exit status %d: %+v", code, s)
	}
}

func TestInterruptedRunLosesNothing(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr bytes.Buffer
	time.AfterFunc(300*time.Millisecond, interrupt)
	if code := run(ctx, []string{"-messages", "50000", "-json"}, &stdout, &stderr); code != 0 {
		t.Errorf("exit status %d\n%s", code, stderr.String())
	}
	var s summary
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Lost != 0 || s.DoubleEffects != 0 || s.Unsettled == 0 || s.Unique != s.Handled+s.Dead+s.Unsettled {
		t.Errorf("%+v", s)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-messages", "-1"}, {"-workers", "0"}, {"-fail", "2"}, {"order"}, {"-redis", "redis://:x:y"}, {"-no"}} {
		if code := run(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)); code != 2 {
			t.Errorf("%q: exit status %d, want 2", args, code)
		}
	}
	if code := run(t.Context(), []string{"-h"}, new(bytes.Buffer), new(bytes.Buffer)); code != 0 {
		t.Errorf("-h: exit status %d", code)
	}
}
