package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runWith runs the program with -json and reads its last line.
func runWith(ctx context.Context, t *testing.T, args ...string) (code int, s summary) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(ctx, append(args, "-json"), &stdout, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatalf("exit status %d: the last line is not the summary: %v\n%s%s", code, err, stdout.String(), stderr.String())
	}
	if !strings.Contains(stderr.String(), "CHARGED MORE THAN ONCE") {
		t.Error("with -json the table goes to the standard error")
	}
	return code, s
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	code, s := runWith(t.Context(), t, "-messages", "500", "-fail", "0.2", "-panic", "0.05", "-vanish", "0.05")
	if code != 0 || s.Lost != 0 || s.DoubleEffects != 0 || s.Unique != 500 || s.Charges != int64(s.Handled) {
		t.Errorf("exit status %d: %+v", code, s)
	}
	if s.Unique != s.Handled+s.Dead || s.Published != int64(s.Unique)+s.Copies || s.Other != 0 ||
		s.Deliveries != 2*s.Published+s.Retried+s.Pending+s.Vanished {
		t.Errorf("the numbers do not add up: %+v", s)
	}
	if s.Copies == 0 || s.Retried == 0 || s.Panics == 0 || s.Duplicates == 0 || s.Vanished == 0 {
		t.Errorf("the run shows nothing of something: %+v", s)
	}
}

// An order that always fails is given up, and not lost.
func TestOrdersAreGivenUp(t *testing.T) {
	code, s := runWith(t.Context(), t, "-messages", "20", "-fail", "1")
	if code != 0 || s.Dead != 20 || s.Lost != 0 || s.Charges != 0 {
		t.Errorf("exit status %d: %+v", code, s)
	}
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	code, s := runWith(t.Context(), t, "-messages", "100", "-off")
	if code != 1 || s.DoubleEffects == 0 || s.Lost != 0 || s.Duplicates != 0 {
		t.Errorf("exit status %d: %+v", code, s)
	}
}

func TestInterruptedRunLosesNothing(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	time.AfterFunc(100*time.Millisecond, interrupt)
	code, s := runWith(ctx, t, "-messages", "5000000")
	if code != 0 || s.Lost != 0 || s.DoubleEffects != 0 || s.Unique != s.Handled+s.Dead {
		t.Errorf("exit status %d: %+v", code, s)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-messages", "-1"}, {"-fail", "2"}, {"order"}, {"-no"}} {
		if code := run(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)); code != 2 {
			t.Errorf("%q: exit status %d, want 2", args, code)
		}
	}
	if code := run(t.Context(), []string{"-h"}, new(bytes.Buffer), new(bytes.Buffer)); code != 0 {
		t.Errorf("-h: exit status %d", code)
	}
}
