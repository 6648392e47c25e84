package crashkit

import (
	"slices"
)

// evidence is all that was seen, from which the report is made.
type evidence struct {
	opts    *Options
	effects *Effects
	calls   []recordedCall // of the run without faults
	results []*result
	known   []Effect
	rows    []Row
}

func (e *evidence) add(r *result) {
	baseline := len(e.results) == 0
	e.results = append(e.results, r)
	for i := range r.tallies {
		t := &r.tallies[i]
		if slices.ContainsFunc(e.known, func(k Effect) bool { return k.Name == t.effect }) {
			continue
		}
		k := Effect{Name: t.effect, Guard: t.guard, Tolerated: e.effects.tolerates(t.effect)}
		if baseline {
			k.Wanted = t.wanted()
		}
		e.known = append(e.known, k)
	}
}

func (e *evidence) report() *Report {
	for _, r := range e.results {
		e.rows = append(e.rows, e.row(r))
	}
	return &Report{Effects: e.known, Rows: e.rows, Findings: e.findings()}
}

func (e *evidence) row(r *result) Row {
	row := Row{Point: r.point, Scenario: r.name, Struck: r.struck, Runs: len(r.runs), Deliveries: r.deliveries,
		Settled: r.settled, Hung: r.hung, Broken: r.broken()}
	if r.cause != nil {
		row.Cause = r.cause.why
	}
	if r.err != nil {
		row.Err = r.err.Error()
	}
	for _, k := range e.known {
		c := Count{Effect: k.Name, Wanted: k.Wanted}
		if t := r.tally(k.Name); t != nil {
			c.Happened, c.InTime = t.happened, t.inTime
			c.Absorbed, c.Refused, c.Replaced = t.absorbed, t.refused, t.replaced
		}
		row.Counts = append(row.Counts, c)
	}
	return row
}

func (r *result) tally(effect string) *tally {
	for i := range r.tallies {
		if r.tallies[i].effect == effect {
			return &r.tallies[i]
		}
	}
	return nil
}

// broken returns which promise was broken that does not depend on the handler, or
// "". A run that succeeded is the last one, unless the fault kept it from being
// recorded; a message is acknowledged only after such a run, when its completion
// is recorded; and every run has a larger fence than those before it.
func (r *result) broken() string {
	successes, counted, fence := 0, 0, uint64(0)
	struck := false
	for i := range r.runs {
		run := &r.runs[i]
		spared := !struck && run.process.first && r.cause != nil && r.cause.spares
		struck = struck || run.process.first
		if run.returned && run.err == nil {
			if !run.repeated {
				successes++
			}
			if !spared {
				counted++
			}
		}
		if run.fence != 0 && run.fence <= fence && r.cause != forgotten {
			return "a fence that did not rise"
		}
		fence = max(fence, run.fence)
	}
	switch {
	case counted > 1:
		return "a second run after one that must be the last"
	case r.acked() && successes == 0:
		return "an acknowledgement without a run that succeeded"
	case r.early:
		return "an acknowledgement before the completion was recorded"
	}
	return ""
}
