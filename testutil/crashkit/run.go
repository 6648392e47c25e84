package crashkit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// Run takes handler through every scenario, logs the report, and fails t for
// each finding that Fails: an effect that happens twice and is not tolerated,
// one that is lost, a message that is never settled.
//
// The claim store of each scenario is made by newStore, inside the bubble; nil
// stands for memstore with its defaults. The store must take its time from package
// time and wait for nothing outside of the bubble: a store in memory, not a
// server. Scenarios in which the store forgets call newStore twice.
//
// The fakes around handler tell effects what they are asked to do. A mistake in
// the arguments, or a handler that has no effect in a run without faults, ends t.
func Run(t *testing.T, newStore func() claim.Store, handler bus.Handler, effects *Effects, o *Options) *Report {
	t.Helper()
	r := Explore(t, newStore, handler, effects, o)
	tell(t, r)
	return r
}

// teller is the part of testing.TB that tell uses.
type teller interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

func tell(t teller, r *Report) {
	t.Helper()
	t.Logf("\n%v", r)
	for _, f := range r.Findings {
		if f.Fails {
			t.Errorf("crashkit: %s; %s", f.What, f.Do)
		}
	}
}

// Explore is Run without a word: nothing is logged, and no finding fails t.
func Explore(t *testing.T, newStore func() claim.Store, handler bus.Handler, effects *Effects, o *Options) *Report {
	t.Helper()
	r, err := explore(t, newStore, handler, effects, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func explore(t *testing.T, newStore func() claim.Store, handler bus.Handler, effects *Effects, o *Options) (*Report, error) {
	if effects == nil {
		return nil, errors.New("crashkit: the effects are nil; make them with NewEffects")
	}
	if !effects.take() {
		return nil, errors.New("crashkit: the effects are in use by another Run; make some for each with NewEffects")
	}
	defer effects.give()
	opts, err := o.withDefaults(newStore, handler)
	if err != nil {
		return nil, err
	}
	e := &evidence{opts: opts, effects: effects}
	if err := e.baseline(t); err != nil {
		return nil, err
	}
	if e.results[0].acked() {
		for _, s := range scenarios(e.calls, opts) {
			r, err := play(t, &s, opts, effects)
			if err != nil {
				return nil, err
			}
			e.add(r)
		}
	}
	return e.report(), nil
}

// result is a scenario after it was played.
type result struct {
	*scenario
	struck     bool // the fault found its moment
	early      bool // an ack came before the completion was recorded, and may not
	hung       bool // a handler did not return; the rest is missing then
	leaked     bool // goroutines were left when all else had ended
	deliveries int
	settled    bus.Action // zero: never
	err        error      // what the bus was told last that was not an ack
	runs       []run
	tallies    []tally
	calls      []recordedCall
}

func (r *result) acked() bool { return r.settled == bus.ActionAck && !r.hung }

// play plays a scenario in a bubble of its own.
func play(t *testing.T, s *scenario, o *Options, effects *Effects) (r *result, err error) {
	defer watch(s.name, stuckAfter, func(why string) { panic(why) })()
	defer effects.enter(nil)
	r = &result{scenario: s, hung: true}
	defer func() {
		// What testing/synctest says of goroutines that wait for nothing.
		if v := recover(); v != nil {
			if !strings.HasPrefix(fmt.Sprint(v), "deadlock: ") {
				panic(v)
			}
			r.leaked = true
		}
	}()
	synctest.Test(t, func(*testing.T) {
		var w *world
		if w, err = newWorld(o); err != nil {
			return
		}
		effects.enter(w)
		s.arrange(w)
		if w.play(s.quiet) {
			*r = w.result(s)
		}
	})
	return r, err
}

func (w *world) result(s *scenario) result {
	r := result{scenario: s, struck: w.struck, deliveries: w.deliveries, err: w.err,
		runs: w.ledger.history(), tallies: w.ledger.summary(), calls: w.ledger.order()}
	d := w.opts.Dedupe
	r.early = w.early && !w.opts.foreign && d.StoreDown != dedupe.FailOpen && d.CommitUnknown != dedupe.AckAnyway
	switch stats := w.bus.Stats(); {
	case stats.Acked > 0:
		r.settled = bus.ActionAck
	case stats.Rejected > 0:
		r.settled = bus.ActionReject
	}
	return r
}

// stuckAfter is how long a scenario may take in real time. It needs about a
// millisecond.
const stuckAfter = time.Minute

// watch ends the program when a scenario stands still in a way that
// testing/synctest cannot see. It does not wait for go test's timeout, which
// would not say what to look for.
func watch(name string, after time.Duration, end func(why string)) (stop func()) {
	timer := time.AfterFunc(after, func() {
		end(fmt.Sprintf("crashkit: the scenario %q stands still for %v of real time: does the handler hold a lock while it calls an effect, "+
			"or wait for something outside of the bubble?", name, after))
	})
	return func() { timer.Stop() }
}

// baseline plays the scenario without faults and notes what the handler does.
func (e *evidence) baseline(t *testing.T) error {
	r, err := play(t, &noFault, e.opts, e.effects)
	if err != nil {
		return err
	}
	e.calls = r.calls
	e.add(r)
	switch {
	case r.hung || r.settled == 0:
		return nil
	case r.settled == bus.ActionReject:
		return fmt.Errorf("crashkit: the message is rejected in a run without faults: %w", r.err)
	case len(r.runs) > 0 && r.runs[0].fence == 0 && !e.opts.foreign:
		return errors.New("crashkit: the handler runs without a claim: Options.Dedupe finds no id in the message and lets it pass")
	case len(r.calls) == 0:
		return errors.New("crashkit: the handler has no effect in a run without faults: let the fakes around it call Happen, HappenOnce or HappenFenced")
	}
	return nil
}
