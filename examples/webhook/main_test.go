package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// They wait for pauses and patience more than they work.
	_ = flag.Set("test.parallel", "4")
	goleak.VerifyTestMain(m)
}

// buffer is a bytes.Buffer for many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// output is what a run left.
type output struct {
	code   int
	stderr string
	summary
}

// runWith runs the program with -json and reads its last line.
func runWith(t *testing.T, ctx context.Context, args ...string) output {
	t.Helper()
	var stdout, stderr buffer
	return read(t, run(ctx, append(args, "-json"), &stdout, &stderr), &stdout, &stderr)
}

func read(t *testing.T, code int, stdout, stderr *buffer) output {
	t.Helper()
	o := output{code: code, stderr: stderr.String()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("exit status %d\n%s%s", o.code, stderr, stdout)
		}
	})
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &o.summary); err != nil {
		t.Fatalf("the last line is not the summary: %v", err)
	}
	return o
}

// equal fails the test when a number is not what it should be.
func equal[N int | int64](t *testing.T, name string, got, want N) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %d, want %d", name, got, want)
	}
}

// proven checks that nothing is lost or doubled and that the numbers add up as the
// documentation says.
func proven(t *testing.T, o output) {
	t.Helper()
	equal(t, "exit status", o.code, 0)
	equal(t, "lost", o.Lost, 0)
	equal(t, "double_effects", o.DoubleEffects, 0)
	equal(t, "unsettled", o.Unsettled, 0)
	equal(t, "unique", o.Unique, o.Handled+o.Dead)
	equal(t, "charges", o.Charges, int64(o.Handled))
	equal(t, "requests", o.Requests, o.Accepted+o.Refused+o.Dropped+o.Forged)
	equal(t, "deliveries", o.Deliveries, o.Charges+o.Retried+o.Duplicates+o.Pending+o.Other)
}

// busy is a run in which everything happens that can happen.
var busy = []string{"-messages", "200", "-duplicates", "0.5", "-drop", "0.15", "-fail", "0.1", "-panic", "0.05", "-slow", "0.05", "-forged", "0.2"}

func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), busy...)
	proven(t, o)
	equal(t, "unique", o.Unique, 200)
	for name, n := range map[string]int64{
		"refused": o.Refused, "dropped": o.Dropped, "forged": o.Forged, "retried": o.Retried, "panics": o.Panics,
		"duplicates": o.Duplicates, "memory_hits": o.MemoryHits, "pending": o.Pending, "slow": o.Slow,
	} {
		if n == 0 {
			t.Errorf("%s is 0: the run shows nothing of it", name)
		}
	}
}

func TestRealRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	proven(t, runWith(t, t.Context(), append(busy, "-redis", cmp.Or(os.Getenv("REDIS_URL"), s.Addr))...))
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), append(busy, "-slow", "0", "-off")...)
	equal(t, "exit status", o.code, 1)
	equal(t, "lost", o.Lost, 0)
	equal(t, "duplicates", o.Duplicates, 0)
	if o.DoubleEffects == 0 || o.Charges <= int64(o.Handled) || !strings.Contains(o.stderr, "charged by receiver") {
		t.Errorf("%d charges of %d orders, %d charged more than once", o.Charges, o.Handled, o.DoubleEffects)
	}
}

func TestSenderGivesUp(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), "-messages", "5", "-fail", "1", "-duplicates", "0", "-drop", "0")
	proven(t, o)
	equal(t, "dead", o.Dead, 5)
	if o.Retried == 0 || o.Retried > 5*maxTries {
		t.Errorf("retried is %d, want at most %d", o.Retried, 5*maxTries)
	}
}

func TestNoEvents(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), "-messages", "0")
	proven(t, o)
	equal(t, "unique", o.Unique, 0)
}

// Interrupted runs tell what was sent until then, and lose nothing.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := parseFlags([]string{"-messages", "1000", "-fail", "1", "-json"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr buffer
	j := newJob(c, &stderr)
	var interrupt sync.WaitGroup
	interrupt.Go(func() {
		for j.ledger.Balance().Orders < c.workers {
			<-time.After(time.Millisecond)
		}
		cancel()
	})
	o := read(t, j.run(ctx, &stdout, &stderr), &stdout, &stderr)
	interrupt.Wait()
	equal(t, "exit status", o.code, 0)
	equal(t, "lost", o.Lost, 0)
	equal(t, "unique", o.Unique, o.Handled+o.Dead+o.Unsettled)
	if o.Unsettled == 0 || !strings.Contains(o.stderr, "interrupted") {
		t.Error("it does not say so, or did not stop in mid-work")
	}
}

func TestWrongFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"-fail 1.5", "-fail is 1.5, want 0 to 1"},
		{"-drop NaN", "-drop is NaN"},
		{"-messages -1", "-messages is -1"},
		{"-workers 0", "-workers is 0"},
		{"-redis redis://localhost:port", "-redis"},
		{"-redis 127.0.0.1:1", "webhook: "},
		{"-unknown", "-unknown"},
		{"events.ndjson", "events.ndjson"},
	} {
		var stdout, stderr buffer
		equal(t, test.args, run(t.Context(), strings.Fields(test.args), &stdout, &stderr), 2)
		if !strings.Contains(stderr.String(), test.want) || stdout.String() != "" {
			t.Errorf("%s: printed %q and %q, want %q on the standard error", test.args, &stdout, &stderr, test.want)
		}
	}
	var stdout, stderr buffer
	equal(t, "exit status", run(t.Context(), []string{"-h"}, &stdout, &stderr), 0)
}
