package main

import (
	"cmp"
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// They wait for pauses and patience more than they work.
	_ = flag.Set("test.parallel", "4")
	goleak.VerifyTestMain(m)
}

// output is what a run left.
type output struct {
	drilltest.Output
	summary
}

// runWith runs the program with -json.
func runWith(t *testing.T, ctx context.Context, args ...string) (o output) {
	t.Helper()
	o.Output = drilltest.Run(t, &o.summary, func(stdout, stderr io.Writer) int { return run(ctx, append(args, "-json"), stdout, stderr) })
	return o
}

// proven checks that nothing is lost or doubled and that the numbers add up as the
// documentation says.
func proven(t *testing.T, o output) {
	t.Helper()
	drilltest.Proven(t, o.Output, &o.Summary)
	drilltest.Equal(t, "requests", o.Requests, o.Accepted+o.Refused+o.Dropped+o.Forged)
}

// busy is a run in which everything happens that can happen.
var busy = []string{"-messages", "200", "-duplicates", "0.5", "-drop", "0.15", "-fail", "0.1", "-panic", "0.05", "-slow", "0.05", "-forged", "0.2"}

func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), busy...)
	proven(t, o)
	drilltest.Equal(t, "unique", o.Unique, 200)
	drilltest.Shown(t, map[string]int64{
		"refused": o.Refused, "dropped": o.Dropped, "forged": o.Forged, "retried": o.Retried, "panics": o.Panics,
		"duplicates": o.Duplicates, "memory_hits": o.MemoryHits, "pending": o.Pending, "slow": o.Slow,
	})
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
	drilltest.Equal(t, "exit status", o.Code, 1)
	drilltest.Equal(t, "lost", o.Lost, 0)
	drilltest.Equal(t, "duplicates", o.Duplicates, 0)
	if o.DoubleEffects == 0 || o.Charges <= int64(o.Handled) || !strings.Contains(o.Stderr, "charged by process") {
		t.Errorf("%d charges of %d orders, %d charged more than once", o.Charges, o.Handled, o.DoubleEffects)
	}
}

func TestSenderGivesUp(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), "-messages", "5", "-fail", "1", "-duplicates", "0", "-drop", "0")
	proven(t, o)
	drilltest.Equal(t, "dead", o.Dead, 5)
	if o.Retried == 0 || o.Retried > 5*maxTries {
		t.Errorf("retried is %d, want at most %d", o.Retried, 5*maxTries)
	}
}

func TestNoEvents(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), "-messages", "0")
	proven(t, o)
	drilltest.Equal(t, "unique", o.Unique, 0)
}

// Interrupted runs tell what was sent until then, and lose nothing.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := parseFlags([]string{"-messages", "1000", "-fail", "1", "-json"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(c)
	var interrupt sync.WaitGroup
	interrupt.Go(func() {
		for j.ledger.Balance().Orders < c.Workers {
			<-time.After(time.Millisecond)
		}
		cancel()
	})
	var o output
	o.Output = drilltest.Run(t, &o.summary, func(stdout, stderr io.Writer) int {
		c.Stderr = stderr
		return j.run(ctx, stdout)
	})
	interrupt.Wait()
	drilltest.Equal(t, "exit status", o.Code, 0)
	drilltest.Equal(t, "lost", o.Lost, 0)
	drilltest.Equal(t, "unique", o.Unique, o.Handled+o.Dead+o.Unsettled)
	if o.Unsettled == 0 || !strings.Contains(o.Stderr, "interrupted") {
		t.Error("it does not say so, or did not stop in mid-work")
	}
}

func TestWrongFlags(t *testing.T) {
	t.Parallel()
	drilltest.WrongFlags(t, func(args []string, stdout, stderr io.Writer) int {
		return run(t.Context(), args, stdout, stderr)
	}, map[string]string{
		"-drop NaN":                     "-drop is NaN",
		"-workers 0":                    "-workers is 0",
		"-redis redis://localhost:port": "-redis",
		"-redis 127.0.0.1:1":            "webhook: ",
		"-unknown":                      "-unknown",
	})
}
