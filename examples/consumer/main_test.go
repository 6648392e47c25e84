package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/oncebus/once/examples/drill/drilltest"
	"github.com/oncebus/once/testutil/natstest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// They wait for leases and ack waits more than they work.
	_ = flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}

// output is what a run left.
type output struct {
	drilltest.Output
	summary
}

// runWith runs the program with -json.
func runWith(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) (o output) {
	t.Helper()
	o.Output = drilltest.Run(t, &o.summary, func(stdout, stderr io.Writer) int {
		return run(ctx, append(args, "-json"), stdin, stdout, stderr)
	})
	return o
}

// proven checks that nothing is lost or doubled and that the numbers add up as
// the documentation says.
func proven(t *testing.T, o output) {
	t.Helper()
	drilltest.Proven(t, o.Output, &o.Summary)
	drilltest.Equal(t, "dead_letters", o.DeadLetters, o.Dead)
	drilltest.Equal(t, "published", o.Published, int64(o.Unique)+o.Copies)
	drilltest.Equal(t, "deliveries, by cause", o.Deliveries, o.Published+o.Retried+o.Pending+o.StoreDown+o.Vanished+o.Expired)
}

// smooth is a run of n orders in which nothing happens.
func smooth(n string) []string {
	return []string{"-messages", n, "-duplicates", "0", "-fail", "0", "-panic", "0", "-slow", "0", "-vanish", "0"}
}

// busy is a run in which everything happens that can happen.
var busy = []string{
	"-messages", "400", "-duplicates", "0.4", "-fail", "0.1", "-panic", "0.03", "-slow", "0.05", "-vanish", "0.03", "-workers", "16",
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), nil, busy...)
	proven(t, o)
	drilltest.Equal(t, "unique", o.Unique, 400)
	drilltest.Shown(t, map[string]int64{
		"copies": o.Copies, "retried": o.Retried, "panics": o.Panics, "duplicates": o.Duplicates,
		"pending": o.Pending, "vanished": o.Vanished, "slow": o.Slow,
	})
	if o.PerSecond <= 0 || o.Seconds <= 0 {
		t.Errorf("%v orders a second in %v s", o.PerSecond, o.Seconds)
	}
}

func TestRealRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := runWith(t, t.Context(), nil, append(slices.Clone(busy), "-redis", cmp.Or(os.Getenv("REDIS_URL"), s.Addr))...)
	proven(t, o)
	if !strings.Contains(o.Stderr, "real Redis") {
		t.Error("the run did not use it")
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	proven(t, runWith(t, t.Context(), nil, append(slices.Clone(busy), "-redis", strings.Join(c.Options().Addrs, ","))...))
	one := append(smooth("50"), "-redis", "redis://"+c.Nodes[0].Addr)
	proven(t, runWith(t, t.Context(), nil, one...))
}

// Without this, a ledger that is blind would prove everything.
func TestLedgerSeesDoubleCharges(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), nil, "-messages", "100", "-off")
	drilltest.Equal(t, "exit status", o.Code, 1)
	drilltest.Equal(t, "lost", o.Lost, 0)
	drilltest.Equal(t, "duplicates", o.Duplicates, 0)
	if o.DoubleEffects == 0 || o.Charges <= int64(o.Handled) {
		t.Errorf("%d charges of %d orders, %d charged more than once", o.Charges, o.Handled, o.DoubleEffects)
	}
	if !strings.Contains(o.Stderr, "attempt") {
		t.Error("it does not name the orders")
	}
}

// The same for lost orders: here the stream loses all but the one at work.
func TestLedgerSeesLoss(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream()
	c := parsed(t, append(smooth("0"), "-nats", srv.URL(), "-in", "-", "-workers", "1", "-slow", "1")...)
	stdin := &tap{r: strings.NewReader(orderLines(5)), atEnd: func() {
		whenFull(t, js, c, 5, func(ctx context.Context, s jetstream.Stream) error { return s.Purge(ctx) })
	}}
	o := runJob(t, t.Context(), stdin, c)
	drilltest.Equal(t, "exit status", o.Code, 1)
	drilltest.Equal(t, "unique", o.Unique, 5)
	drilltest.Equal(t, "lost", o.Lost, 5-o.Handled)
	if o.Lost == 0 || !strings.Contains(o.Stderr, "order 5: neither charged nor given up") {
		t.Error("it does not name the orders")
	}
	for _, name := range []string{c.Run, c.Run + "-dead"} {
		if _, err := js.Stream(t.Context(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("stream %s is left behind: %v", name, err)
		}
	}
}

// whenFull calls do with the stream of orders that c names when n are in it.
func whenFull(t *testing.T, js jetstream.JetStream, c *config, n uint64, do func(context.Context, jetstream.Stream) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		s, err := js.Stream(ctx, c.Run)
		if err == nil && s.CachedInfo().State.Msgs >= n {
			err = do(ctx, s)
		}
		switch {
		case err != nil:
			t.Error(err)
			return
		case s.CachedInfo().State.Msgs >= n:
			return
		}
	}
}

// parsed returns what args and -json ask for.
func parsed(t *testing.T, args ...string) *config {
	t.Helper()
	c, err := parseFlags(append(args, "-json"), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runJob runs what c asks for.
func runJob(t *testing.T, ctx context.Context, stdin io.Reader, c *config) (o output) {
	t.Helper()
	o.Output = drilltest.Run(t, &o.summary, func(stdout, stderr io.Writer) int {
		c.Stderr = stderr
		return newJob(c).run(ctx, stdin, stdout)
	})
	return o
}

// tap calls atEnd before it reports the end of r.
type tap struct {
	r     io.Reader
	atEnd func()
}

func (s *tap) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err == io.EOF {
		s.atEnd()
	}
	return n, err
}

func orderLines(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		json.NewEncoder(&b).Encode(map[string]int{"id": i})
	}
	return b.String()
}

func TestEveryOrderDies(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), nil, "-messages", "10", "-fail", "1")
	proven(t, o)
	drilltest.Equal(t, "dead", o.Dead, 10)
	if o.Retried == 0 || o.Retried > 10*(maxAttempts-1) { // a crash would be an attempt without a run
		t.Errorf("retried is %d, want at most %d", o.Retried, 10*(maxAttempts-1))
	}
	drilltest.Equal(t, "given_up", o.GivenUp, o.Published)
}

func TestNoOrders(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), nil, "-messages", "0")
	proven(t, o)
	drilltest.Equal(t, "unique", o.Unique, 0)
}

// input has 5 orders, one of them three times, and 4 lines that are none.
const input = `{"order":{"id":"a","cents":1}}
{"order":{"id":7}}
no order

{"order":{"id":"a","cents":1}}
{"order":{}}
{"order":{"id":"a b"}}
{"order":{"id":" a b"}}
{"order":{"id":true}}
{"order":{"id":"a"}}
7
{"order":{"id":"last"}}`

func TestInput(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, o output) {
		proven(t, o)
		drilltest.Equal(t, "unique", o.Unique, 5)
		drilltest.Equal(t, "published", o.Published, 7)
		drilltest.Equal(t, "rejected", o.Rejected, 4)
		if o.Duplicates < 2 {
			t.Errorf("duplicates is %d, want 2 or more", o.Duplicates)
		}
		for _, line := range []string{"line 3 ", "line 6 ", "line 9 ", "line 11 "} {
			if !strings.Contains(o.Stderr, line) {
				t.Errorf("the standard error does not tell of %s", line)
			}
		}
	}
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "orders.ndjson")
		if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, runWith(t, t.Context(), nil, "-in", file, "-id", "order.id"))
	})
	t.Run("standard input", func(t *testing.T) {
		t.Parallel()
		check(t, runWith(t, t.Context(), strings.NewReader(input), "-in", "-", "-id", "order.id"))
	})
}

// A stream of one order alone: the stream's own window catches most.
func TestInputOfOneOrder(t *testing.T) {
	t.Parallel()
	o := runWith(t, t.Context(), strings.NewReader(strings.Repeat("{\"id\":1}\n", 200)), "-in", "-")
	proven(t, o)
	drilltest.Equal(t, "unique", o.Unique, 1)
	drilltest.Equal(t, "published and caught", o.Published+o.Caught, 200)
}

// Interrupted runs tell what was published until then, and lose nothing.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	// All lines are with the publisher when more is asked for, and then the input
	// waits, as a terminal does.
	stdin := &tap{r: strings.NewReader(orderLines(200)), atEnd: func() {
		cancel()
		<-ended
	}}
	o := runWith(t, ctx, stdin, "-in", "-", "-workers", "1", "-slow", "0.5")
	drilltest.Equal(t, "exit status", o.Code, 0)
	drilltest.Equal(t, "lost", o.Lost, 0)
	drilltest.Equal(t, "double_effects", o.DoubleEffects, 0)
	drilltest.Equal(t, "unique", o.Unique, o.Handled+o.Dead+o.Unsettled)
	drilltest.Equal(t, "unique", o.Unique, 200)
	if o.Unsettled == 0 {
		t.Error("unsettled is 0: it did not stop in mid-work")
	}
	if !strings.Contains(o.Stderr, "interrupted") {
		t.Error("it does not say so")
	}
}

// A bus that delivers nothing any more stops the run, and what was not charged by
// then counts as lost.
func TestStall(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream()
	c := parsed(t, append(smooth("0"), "-nats", srv.URL(), "-in", "-", "-workers", "1", "-slow", "1")...)
	c.patience = time.Second
	stdin := &tap{r: strings.NewReader(orderLines(5)), atEnd: func() {
		whenFull(t, js, c, 1, func(ctx context.Context, s jetstream.Stream) error {
			_, err := s.PauseConsumer(ctx, "billing", time.Now().Add(time.Hour))
			return err
		})
	}}
	o := runJob(t, t.Context(), stdin, c)
	drilltest.Equal(t, "exit status", o.Code, 1)
	drilltest.Equal(t, "unique", o.Unique, 5)
	drilltest.Equal(t, "unsettled", o.Unsettled, 0)
	if o.Lost == 0 || !strings.Contains(o.Stderr, "nothing moves") {
		t.Error("it does not say why")
	}
}

func TestWrongFlags(t *testing.T) {
	t.Parallel()
	drilltest.WrongFlags(t, func(args []string, stdout, stderr io.Writer) int {
		return run(t.Context(), args, nil, stdout, stderr)
	}, map[string]string{
		"-fail 1.5":                     "-fail is 1.5, want 0 to 1",
		"-panic -0.1":                   "-panic is -0.1",
		"-duplicates NaN":               "-duplicates is NaN",
		"-messages -1":                  "-messages is -1",
		"-messages many":                "many",
		"-workers 0":                    "-workers is 0",
		"-seed -1":                      "seed",
		"-in /does/not/exist":           "/does/not/exist",
		"-in " + os.TempDir():           "is a directory",
		"-in - -id a..b":                `-id is "a..b"`,
		"-id order.id":                  "needs -in",
		"-nats=":                        "-nats is empty",
		"-redis=":                       "-redis is empty",
		"-redis redis://localhost:port": "-redis",
		"-redis a:1,,b:1":               "is empty",
		"-unknown":                      "-unknown",
		"orders.ndjson":                 "orders.ndjson",
	})
}
