package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/examples/ledger"
)

// few is how many orders are named.
const few = 10

// summary is the outcome of a job. The package documentation says what each
// number is, and which of them add up.
type summary struct {
	Unique        int   `json:"unique"`
	Requests      int64 `json:"requests"`
	Accepted      int64 `json:"accepted"`
	Refused       int64 `json:"refused"`
	Dropped       int64 `json:"dropped"`
	Forged        int64 `json:"forged"`
	Deliveries    int64 `json:"deliveries"`
	Charges       int64 `json:"charges"`
	Retried       int64 `json:"retried"`
	Panics        int64 `json:"panics"`
	Duplicates    int64 `json:"duplicates"`
	MemoryHits    int64 `json:"memory_hits"`
	Pending       int64 `json:"pending"`
	Other         int64 `json:"other"`
	Slow          int64 `json:"slow"`
	Handled       int   `json:"handled"`
	Dead          int   `json:"dead"`
	Unsettled     int   `json:"unsettled"`
	Lost          int   `json:"lost"`
	DoubleEffects int   `json:"double_effects"`

	Takeovers   int64 `json:"takeovers"`
	LeaseLost   int64 `json:"lease_lost"`
	LostCommits int64 `json:"lost_commits"`
	StoreDown   int64 `json:"store_down"`

	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

func newJob(c *config, stderr io.Writer) *job {
	j := &job{config: c, ledger: ledger.New(), logger: slog.New(slog.DiscardHandler)}
	if c.verbose {
		j.logger = slog.New(slog.NewTextHandler(stderr, nil))
	}
	return j
}

// run carries the job out, prints the summary and returns the exit status.
func (j *job) run(ctx context.Context, stdout, stderr io.Writer) int {
	s, err := j.prove(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "webhook: %v\n", err)
		return 2
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "webhook: interrupted")
	}
	table := stdout
	if j.json {
		table = stderr
	}
	s.table(table, j)
	if j.json {
		line, err := json.Marshal(s)
		if err != nil {
			panic(err) // a struct of numbers: cannot fail
		}
		fmt.Fprintf(stdout, "%s\n", line)
	}
	if s.Lost != 0 || s.DoubleEffects != 0 {
		j.nameSome(stderr)
		return 1
	}
	return 0
}

// prove sets up, works, sums up and cleans up.
func (j *job) prove(ctx context.Context) (s *summary, err error) {
	redis.SetLogger(redisLogger{j.logger})
	o := j.redis
	if o == nil {
		mini, err := miniredis.Run()
		if err != nil {
			return nil, fmt.Errorf("embedded redis: %w", err)
		}
		defer mini.Close()
		o = &redis.Options{Addr: mini.Addr()}
		// It makes a new Lua machine for every script call. In a heap as small as
		// this one, the collector would run a hundred times a second.
		debug.SetGCPercent(400)
	}
	o.ContextTimeoutEnabled = true // otherwise no deadline ends a call in time
	stop := func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, r := range j.receivers {
			if e := r.stop(ctx); e != nil {
				err = fmt.Errorf("receiver %d: %w", r.number, e)
			}
		}
		return err
	}
	if err := j.setUp(ctx, o); err != nil {
		_ = stop()
		return nil, err
	}
	j.sender = newSender(j)
	begun := time.Now()
	j.sender.run(ctx)
	elapsed := time.Since(begun)
	if err := stop(); err != nil { // after it, no handler runs
		return nil, err
	}
	return j.sumUp(elapsed, ctx.Err() != nil), nil
}

// sumUp makes the summary of a job that has ended after elapsed.
func (j *job) sumUp(elapsed time.Duration, interrupted bool) *summary {
	b := j.ledger.Balance()
	s := &summary{
		Unique: b.Orders, Charges: int64(b.Charges), Handled: b.Handled, Dead: b.Dead, DoubleEffects: b.Doubled,
		Requests: j.sender.requests.Load(), Accepted: j.sender.accepted.Load(), Refused: j.sender.refused.Load(),
		Dropped: j.sender.dropped.Load(), Forged: j.sender.forgeries.Load(), Slow: j.slowRuns.Load(),
		Seconds: math.Round(elapsed.Seconds()*1000) / 1000,
	}
	s.PerSecond = math.Round(float64(s.Handled)/max(elapsed.Seconds(), 0.001)*10) / 10
	for _, r := range j.receivers {
		d := r.deduper.Stats()
		s.Deliveries += d.Deliveries
		s.Duplicates += d.Duplicates
		s.MemoryHits += d.MemoryHits
		s.Pending += d.Pending
		s.Retried += d.Failed + d.Panicked
		s.Panics += d.Panicked
		s.Takeovers += d.Takeovers
		s.LeaseLost += d.LeasesLost
		s.LostCommits += d.LostCommits
		s.StoreDown += d.StoreDown
	}
	if j.off { // they ran all the same
		s.Duplicates, s.MemoryHits, s.Pending = 0, 0, 0
	}
	s.Other = s.Deliveries - s.Charges - s.Retried - s.Duplicates - s.Pending
	if interrupted {
		s.Unsettled = b.Open // the sender has them still
	}
	s.Lost = s.Unique - s.Handled - s.Dead - s.Unsettled
	return s
}

// table prints the numbers for people, in the order in which they add up.
func (s *summary) table(w io.Writer, j *job) {
	row := func(n int64, format string, args ...any) {
		fmt.Fprintf(w, "%12d  %s\n", n, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "\nTwo receivers, %d events at a time, seed %d\n", j.workers, j.seed)
	if j.off {
		fmt.Fprintf(w, "Deduplication is OFF\n")
	}
	fmt.Fprintf(w, "\nRequests\n")
	row(s.Requests, "in all")
	row(s.Accepted, "were answered 2xx")
	row(s.Refused, "were told to come again")
	row(s.Dropped, "had no answer: dropped, given up after %v, or broken off", patience)
	row(s.Forged, "were forged, and refused")
	fmt.Fprintf(w, "\nDeliveries\n")
	row(s.Deliveries, "in all")
	row(s.Charges, "charged the order")
	row(s.Retried, "failed before the charge (%d panics): given back", s.Panics)
	row(s.Duplicates, "found the order done: not run")
	row(s.Pending, "found the order at work: put off (%d handlers were slow)", s.Slow)
	if s.Other != 0 {
		row(s.Other, "ended otherwise (%d found the claim store down)", s.StoreDown)
	}
	fmt.Fprintf(w, "\nOrders\n")
	row(int64(s.Unique), "in all")
	row(int64(s.Handled), "charged")
	row(int64(s.Dead), "given up by the sender, after %d tries", maxTries)
	if s.Unsettled > 0 {
		row(int64(s.Unsettled), "still with the sender")
	}
	row(int64(s.Lost), "LOST")
	row(int64(s.DoubleEffects), "CHARGED MORE THAN ONCE")
	fmt.Fprintf(w, "\n%.1f s, %.0f orders a second\n", s.Seconds, s.PerSecond)
}

// nameSome names a few of the orders that are lost or charged more than once.
func (j *job) nameSome(stderr io.Writer) {
	open, doubles := j.ledger.Open(), j.ledger.Doubles()
	for _, id := range open[:min(few, len(open))] {
		fmt.Fprintf(stderr, "webhook: order %s: neither charged nor given up\n", id)
	}
	for _, e := range doubles[:min(few, len(doubles))] {
		fmt.Fprintf(stderr, "webhook: order %s: charged by receiver %d, attempt %d, fence %d\n", e.Order, e.Process, e.Attempt, e.Fence)
	}
}

// logWriter takes what net/http logs.
type logWriter struct{ *slog.Logger }

func (l logWriter) Write(p []byte) (int, error) {
	l.Info(strings.TrimSpace(string(p)))
	return len(p), nil
}

type redisLogger struct{ *slog.Logger }

// Printf is called by go-redis.
func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.InfoContext(ctx, fmt.Sprintf(format, args...))
}
