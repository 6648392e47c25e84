package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// trouble is what goes wrong around the handler. Whether it does is a function of
// seed, event and try alone, so that a run can be repeated.
type trouble struct {
	runs     sync.Map // event to *atomic.Int64: how often its handler ran
	slowRuns atomic.Int64
}

// roll returns a number from 0 up to 1.
func (c *config) roll(id, what string, n int64) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", id, what, n)
	return rand.New(rand.NewPCG(c.seed, h.Sum64())).Float64()
}

var errProvider = errors.New("the payment provider does not answer")

// strike goes before the effect: it may fail, panic, or take its time.
func (j *job) strike(ctx context.Context, id string) error {
	runs, _ := j.runs.LoadOrStore(id, new(atomic.Int64))
	n := runs.(*atomic.Int64).Add(1)
	if j.roll(id, "fail", n) < j.fail {
		return errProvider
	}
	if j.roll(id, "panic", n) < j.panics {
		panic("nil map, most likely")
	}
	wait := time.Duration(j.roll(id, "work", n) * float64(5*time.Millisecond))
	if j.roll(id, "slow", 0) < j.slow {
		j.slowRuns.Add(1)
		wait = slowRun
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done(): // the lease is lost, or the program ends
		return context.Cause(ctx)
	}
}
