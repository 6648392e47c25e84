package dedupe

import (
	"context"

	"github.com/oncebus/once/claim"
)

// observe runs a as if there were no Deduper, and counts what a Deduper would
// have done. Claims are asked for and recorded as usual, so that the counts are
// those of the real thing.
func (d *Deduper) observe(ctx context.Context, a *attempt) (Result, error) {
	if err := d.claim(ctx, a, a.begun); err != nil {
		return d.unanswered(ctx, a, err)
	}
	if a.op.Verdict.Outcome == claim.Claimed {
		d.granted(ctx, a)
		return d.execute(ctx, a)
	}
	d.skipped(ctx, a)
	return d.runUnclaimed(ctx, a, nil)
}

// skipped counts an attempt that would not have run.
func (d *Deduper) skipped(ctx context.Context, a *attempt) {
	v := &a.op.Verdict
	d.count.observed.Add(1)
	switch v.Outcome {
	case claim.Done:
		d.count.duplicate(d.age(v))
	case claim.Pending:
		d.count.pending.Add(1)
	case claim.Mismatch:
		d.count.mismatched.Add(1)
	case claim.Dead:
		d.count.dead.Add(1)
	case claim.Parked:
		d.count.parked.Add(1)
	}
	d.decided(ctx, a, Decision{Outcome: v.Outcome, Source: FromStore, Attempt: v.Attempt, Age: d.age(v)})
}
