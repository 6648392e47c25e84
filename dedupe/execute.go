package dedupe

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// execute runs the handler of a granted claim while its lease is kept, and ends
// the attempt by what the handler returned.
func (d *Deduper) execute(ctx context.Context, a *attempt) (Result, error) {
	now := d.now()
	c := a.context(ctx)
	defer c.end()
	if !d.keep(a, &c.lazyContext, now) {
		return Result{}, d.tooLate(ctx, a)
	}
	defer d.keeper.remove(a)

	finished := false
	defer func() {
		if !finished { // the handler takes this goroutine away
			_, _ = d.finish(ctx, a, bus.ErrGoexit)
		}
	}()
	err := d.run(c, a, now)
	finished = true
	return d.finish(ctx, a, err)
}

// keep hands a's lease to the keeper, which cancels the handler's context when it
// is lost.
func (d *Deduper) keep(a *attempt, handler *lazyContext, now time.Duration) bool {
	if d.opts.ObserveOnly {
		handler = nil // nothing is to be disturbed
	}
	return d.keeper.add(a, handler, now)
}

// tooLate gives back a claim whose lease was over before the handler could start:
// this process stood still.
func (d *Deduper) tooLate(ctx context.Context, a *attempt) error {
	d.count.leasesLost.Add(1)
	a.plan = plan{kind: claim.OpRelease, err: fmt.Errorf("%w before the handler started", ErrLeaseLost)}
	d.send(ctx, a)
	_, err := d.ended(a, nil)
	return err
}

// run calls the handler behind a barrier, at begun. A panic becomes an error; a
// Goexit is counted and then goes on.
func (d *Deduper) run(ctx context.Context, a *attempt, begun time.Duration) (err error) {
	d.count.runs.Add(1)
	a.introduce()
	returned := false
	defer func() {
		if !returned {
			err = bus.ErrGoexit
			if v := recover(); v != nil {
				err = &bus.PanicError{Value: v, Stack: debug.Stack()}
			}
		}
		d.ran(ctx, a, err, begun)
	}()
	err = a.call(ctx)
	returned = true
	return err
}

// ran counts how a handler that began at begun ended and tells the Observer.
func (d *Deduper) ran(ctx context.Context, a *attempt, err error, begun time.Duration) {
	switch {
	case err == nil:
		d.count.succeeded.Add(1)
	case didNotReturn(err):
		d.count.panicked.Add(1)
		var stack []byte
		if p := (*bus.PanicError)(nil); errors.As(err, &p) {
			stack = p.Stack
		}
		d.opts.Logger.Error("dedupe: handler did not return", "consumer", d.opts.Consumer,
			"attempt", a.grant.Attempt, "error", err, "stack", string(stack))
	default:
		d.count.failed.Add(1)
	}
	if f := d.opts.Observer.Ran; f != nil {
		f(ctx, Run{Attempt: a.grant.Attempt, Elapsed: d.now() - begun, Err: err})
	}
}

func didNotReturn(err error) bool {
	var p *bus.PanicError
	return errors.Is(err, bus.ErrGoexit) || errors.As(err, &p)
}

// finish ends an attempt whose handler ended with err.
func (d *Deduper) finish(ctx context.Context, a *attempt, err error) (Result, error) {
	leaseErr := d.conclude(ctx, a, err)
	d.send(ctx, a)
	return d.ended(a, leaseErr)
}

// conclude makes the plan for an attempt whose handler has returned err, and
// returns why its lease was given up, if it was. A message that is to die goes to
// the dead-letter sink here, before the key is marked dead.
func (d *Deduper) conclude(ctx context.Context, a *attempt, err error) (leaseErr error) {
	leaseErr, lost := d.keeper.handlerReturned(a)
	settlement := bus.SettlementOf(err)
	switch {
	case err == nil:
		a.plan = plan{kind: claim.OpMarkDone}
	case lost:
		a.plan = plan{err: err}
	case d.opts.ObserveOnly,
		settlement.Action == bus.ActionAbandon,
		// The consumer is shutting down: not the handler's failure.
		ctx.Err() != nil && errors.Is(err, ctx.Err()):
		a.plan = plan{kind: claim.OpRelease, err: err}
	case isPermanent(err):
		d.planDeath(ctx, a, err)
	case d.opts.MaxAttempts > 0 && a.grant.Attempt >= d.opts.MaxAttempts:
		d.planDeath(ctx, a, fmt.Errorf("%s: %w", claim.AttemptsExhausted(a.grant.Attempt), err))
	case settlement.HasDelay:
		a.plan = plan{kind: claim.OpRelease, err: err, delay: min(settlement.Delay, claim.MaxDelay)}
	default:
		a.plan = plan{kind: claim.OpRelease, err: err, delay: min(d.opts.Backoff(a.grant.Attempt), claim.MaxDelay)}
	}
	return leaseErr
}

// planDeath gives a message up because of err; it is retried if the sink fails.
func (d *Deduper) planDeath(ctx context.Context, a *attempt, err error) {
	a.plan = plan{kind: claim.OpMarkDead, err: err}
	if sinkErr := d.deadLetter(ctx, a, a.grant.Attempt, err); sinkErr != nil {
		a.plan = plan{kind: claim.OpRelease, err: fmt.Errorf("%w; %w", err, sinkErr),
			delay: min(d.opts.Backoff(a.grant.Attempt), claim.MaxDelay)}
	}
}

// planned sets a.op by a.plan and reports whether there is anything to send.
func (d *Deduper) planned(a *attempt) bool {
	a.op = claim.Op{Kind: a.plan.kind, Key: a.key, Grant: a.grant, TTL: a.plan.delay}
	switch a.plan.kind {
	case claim.OpMarkDone:
		a.op.Completion = a.completion(&d.opts)
	case claim.OpMarkDead:
		a.op.Reason = a.plan.err.Error()
	}
	return a.plan.kind != 0
}

// send carries out a's plan, also when ctx has been cancelled: what has happened
// must be recorded.
func (d *Deduper) send(ctx context.Context, a *attempt) {
	if !d.planned(a) {
		return
	}
	a.ending = d.now()
	ctx, end := d.endingContext(ctx, &a.context(ctx).commit, a.plan.kind, a.ending)
	defer end()
	d.transmit(ctx, a.single())
}

// endingContext returns the context in which an ending of a kind is sent at now:
// with a timeout of its own, and not cancelled with ctx.
func (d *Deduper) endingContext(ctx context.Context, c *callContext, kind claim.OpKind, now time.Duration) (context.Context, context.CancelFunc) {
	if kind != claim.OpRelease {
		return d.commits.begin(c, ctx, now)
	}
	// A release need not succeed: the lease ends by itself.
	return context.WithTimeout(context.WithoutCancel(ctx), min(d.opts.ClaimTimeout, d.opts.CommitTimeout))
}

// ended settles an attempt by the answer to its plan. leaseErr is why its lease
// was given up, if it was.
func (d *Deduper) ended(a *attempt, leaseErr error) (Result, error) {
	if d.opts.ObserveOnly {
		return Result{Bytes: a.run.result, Attempt: a.grant.Attempt, Fence: a.grant.Fence}, a.plan.err
	}
	if errors.Is(a.op.Err, claim.ErrLost) || a.plan.kind == 0 {
		return Result{}, d.endedLost(a)
	}
	switch a.plan.kind {
	case claim.OpMarkDone:
		return d.endedDone(a, leaseErr)
	case claim.OpMarkDead:
		if a.op.Err != nil {
			return Result{}, bus.Abandon(fmt.Errorf("%w; not recorded as dead: %w", a.plan.err, a.op.Err))
		}
		d.count.died.Add(1)
		return Result{}, bus.Reject(a.plan.err)
	}
	if bus.SettlementOf(a.plan.err).Action == bus.ActionAbandon {
		return Result{}, a.plan.err
	}
	if a.op.Err != nil && leaseErr != nil {
		// Another owner may be running: a nak would start a third delivery.
		return Result{}, bus.Abandon(fmt.Errorf("%w; %w", a.plan.err, leaseErr))
	}
	return Result{}, bus.RetryAfter(a.plan.err, a.plan.delay)
}

// endedLost settles an attempt of which the store said that it is another's.
func (d *Deduper) endedLost(a *attempt) error {
	if a.plan.err == nil {
		d.count.lostCommits.Add(1)
		return bus.Abandon(fmt.Errorf("%w: the handler succeeded and another owner had taken the key", ErrLeaseLost))
	}
	return bus.Abandon(fmt.Errorf("%w; handler: %w", ErrLeaseLost, a.plan.err))
}

// endedDone settles an attempt whose handler succeeded.
func (d *Deduper) endedDone(a *attempt, leaseErr error) (Result, error) {
	result := Result{Bytes: a.run.result, Attempt: a.grant.Attempt, Fence: a.grant.Fence}
	if a.op.Err != nil {
		d.count.unknownCommits.Add(1)
		d.finished.add(a)
		return result, d.commitUnknown(a.op.Err)
	}
	if a.op.Recovered {
		d.count.recoveredCommits.Add(1)
	}
	if leaseErr != nil {
		d.count.lateCommits.Add(1)
	}
	if c := &a.op.Completion; c.Result == nil && !c.Omitted {
		d.memory.add(&a.key, a.fp, c.Retention, a.ending)
	}
	return result, nil
}

// commitUnknown settles finished work of which the store did not say that it is
// recorded.
func (d *Deduper) commitUnknown(err error) error {
	if d.opts.CommitUnknown == AckAnyway {
		return nil
	}
	return bus.Abandon(fmt.Errorf("%w: %w", ErrCommitUnknown, err))
}
