//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

const lease = nemesis.DefaultLease

// scale is how large the trials are.
type scale struct {
	orders int // of a trial
	hits   int // of a fault that strikes one worker
	few    int // of one that takes seconds to repair, for each point
	seed   int
}

// catalogue returns all experiments.
func catalogue(s *settings) []experiment {
	// The number of trials does not depend on their size.
	n := len(trials(scale{orders: 1000, hits: 1, few: 1}))
	c := scale{orders: max(500, s.messages/n), hits: 6, few: 1, seed: s.seed}
	if !s.short {
		c.hits, c.few = 40, 3
	}
	return trials(c)
}

func trials(s scale) []experiment {
	return slices.Concat(s.processes(), s.replies(), s.slowness(), s.stores(), s.failover(), s.networks(), s.rebalances(),
		s.clocks(), s.refusals(), s.handlers(), s.messages(), s.versions(), s.buckets(), s.inboxes(), s.negatives())
}

// trial is one in which orders strike at the points, and hit says what happens.
// Orders are published twice now and then.
func (s scale) trial(fault, name string, hit func(*nemesis.World, nemesis.Hit) nemesis.Action, at ...nemesis.Point) experiment {
	hits := max(s.hits, len(at))
	stride := max(2, s.orders/hits)
	return experiment{Trial: nemesis.Trial{
		Fault: fault, Name: name, Orders: s.orders, CopyEach: 20, Copies: 1, Hit: hit,
		Worker: nemesis.Worker{Plan: nemesis.Plan{Points: at, Stride: stride, Offset: s.seed * 7919 % stride}},
	}}
}

// paced is a trial whose fault needs time to be repaired.
func (s scale) paced(fault, name string, hit func(*nemesis.World, nemesis.Hit) nemesis.Action, at ...nemesis.Point) experiment {
	s.hits = s.few * len(at)
	e := s.trial(fault, name, hit, at...)
	e.Paced = true
	return e
}

// with changes a trial.
func (e experiment) with(change func(t *nemesis.Trial)) experiment {
	change(&e.Trial)
	return e
}

// expecting adds an expectation.
func (e experiment) expecting(check func(w *nemesis.World, r *nemesis.Result, say func(string, ...any))) experiment {
	before := e.Expect
	e.Expect = func(w *nemesis.World, r *nemesis.Result) (found []string) {
		if before != nil {
			found = before(w, r)
		}
		check(w, r, func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) })
		return found
	}
	return e
}

// do answers every hit with an action.
func do(a nemesis.Action) func(*nemesis.World, nemesis.Hit) nemesis.Action {
	return func(*nemesis.World, nemesis.Hit) nemesis.Action { return a }
}

// once expects that no order ran again, and that no lease ran out.
func (e experiment) once() experiment {
	return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if n := r.Doubled(); n > 0 {
			say("%d second executions %v, want none", n, r.Seconds)
		}
		if r.Expiries > 0 {
			say("%d leases ran out, want none", r.Expiries)
		}
	})
}

// struckOnce expects one effect of each order that was struck.
func (e experiment) struckOnce(at ...nemesis.Point) experiment {
	return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		for _, p := range at {
			for _, h := range r.HitsAt(p) {
				if n := r.EffectsOf(h.Order); n != 1 {
					say("%s, struck at %s, has %d effects, want 1", h.Order, p, n)
				}
			}
		}
	})
}

// withDir calls f with a folder of its own.
func withDir(f func(dir string) error) error {
	dir, err := os.MkdirTemp("", "once-prove-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
	return f(dir)
}

// slack is what a busy machine may add to a time that is bounded.
const slack = 1500 * time.Millisecond
