//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/oncebus/once/testutil/kafkatest"
	"github.com/oncebus/once/testutil/nemesis"
	"github.com/oncebus/once/testutil/sqltest"
)

// campaign is all trials that were asked for.
type campaign struct {
	*settings
	stderr io.Writer
	begun  time.Time
	ended  time.Time

	mu      sync.Mutex // guards the following
	results []*result
	skipped map[int]string // rows that cannot be carried out here, and why
	done    int
	orders  int
}

// result is a trial's with the campaign's verdict.
type result struct {
	*nemesis.Result
	control bool
}

// experiment is a trial, or a check that needs no messages.
type experiment struct {
	nemesis.Trial
	check   func(ctx context.Context, dir string) error
	control bool // a consumer that is known to be wrong; Expect says whether it was caught
}

func newCampaign(s *settings, stderr io.Writer) *campaign {
	return &campaign{settings: s, stderr: stderr, skipped: map[int]string{}}
}

// run carries out the experiments, some at a time.
func (c *campaign) run(ctx context.Context) error {
	c.begun = time.Now()
	all := catalogue(c.settings)
	if len(c.faults) > 0 {
		all = slices.DeleteFunc(all, func(e experiment) bool {
			return !slices.Contains(c.faults, e.Fault) && !(e.control && slices.Contains(c.faults, controls))
		})
	}
	// What takes long goes first, so that nobody waits for it at the end.
	slices.SortStableFunc(all, func(a, b experiment) int { return weight(&b) - weight(&a) })
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan experiment)
	var workers sync.WaitGroup
	for range c.parallel {
		workers.Go(func() {
			for e := range next {
				if err := c.carryOut(ctx, e, len(all)); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, e := range all {
		if ctx.Err() != nil {
			break
		}
		next <- e
	}
	close(next)
	workers.Wait()
	c.ended = time.Now()
	fmt.Fprintln(c.stderr)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	slices.SortStableFunc(c.results, func(a, b *result) int { return place(a) - place(b) })
	return nil
}

func weight(e *experiment) int {
	if e.Paced {
		return 1
	}
	return 0
}

// place orders results as the matrix does.
func place(r *result) int {
	if r.control {
		return len(matrix)
	}
	return rowOf(r.Fault, r.Backend) // -1, the first place, without a fault
}

func (c *campaign) carryOut(ctx context.Context, e experiment, of int) error {
	var r *nemesis.Result
	var err error
	if e.check != nil {
		r, err = c.checkOnly(ctx, &e)
	} else {
		r, err = nemesis.Run(ctx, e.Trial)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	switch {
	case errors.Is(err, nemesis.ErrNoClock), missing(err) && os.Getenv("ONCE_REQUIRE_SERVERS") != "1":
		c.skipped[rowOf(e.Fault, e.Backend)] = err.Error()
		return nil
	case err != nil && ctx.Err() != nil:
		return nil
	case errors.Is(err, nemesis.ErrNoRedis):
		return err
	case err != nil:
		r = &nemesis.Result{Fault: e.Fault, Backend: e.Backend, Name: e.Name, Points: e.Points, Failures: []string{err.Error()}}
	}
	c.orders += r.Orders
	c.results = append(c.results, &result{r, e.control})
	c.progress(r, of)
	return nil
}

// missing reports whether a server is not installed that is not needed for all.
func missing(err error) bool {
	return errors.Is(err, kafkatest.ErrMissing) || errors.Is(err, sqltest.ErrNotInstalled)
}

func (c *campaign) checkOnly(ctx context.Context, e *experiment) (*nemesis.Result, error) {
	r := &nemesis.Result{Fault: e.Fault, Name: e.Name, Points: e.Points}
	begun := time.Now()
	if err := withDir(func(dir string) error { return e.check(ctx, dir) }); err != nil {
		r.Failures = append(r.Failures, err.Error())
	}
	r.Elapsed = time.Since(begun)
	return r, nil
}

// progress says how far the campaign is. What fails is said at once.
func (c *campaign) progress(r *nemesis.Result, of int) {
	for _, f := range r.Failures {
		fmt.Fprintf(c.stderr, "\r\033[K%s %s: %s\n", r.Fault, r.Name, f)
	}
	fmt.Fprintf(c.stderr, "\r\033[K%d of %d trials, %d orders, %v: %s %s took %v",
		c.done, of, c.orders, time.Since(c.begun).Round(time.Second), r.Fault, r.Name, r.Elapsed.Round(100*time.Millisecond))
}
