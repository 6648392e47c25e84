package dedupe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// The pauses between two tries of an operation whose outcome is unknown.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// transmit carries out ops on the store and repeats those that had no answer,
// with the same arguments, until all have one or ctx ends.
func (d *Deduper) transmit(ctx context.Context, ops []*claim.Op) {
	claim.Apply(ctx, d.store, ops)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if ops = unanswered(ops); len(ops) == 0 || !sleep(ctx, pause/2+rand.N(pause/2)) {
			return
		}
		before := make([]error, len(ops))
		for i, op := range ops {
			before[i] = op.Err
		}
		claim.Apply(ctx, d.store, ops)
		for i, op := range ops {
			// That the last try did not happen says nothing of those before it.
			if errors.Is(before[i], claim.ErrUnknown) && errors.Is(op.Err, claim.ErrUnavailable) {
				op.Err = before[i]
			}
		}
	}
}

func unanswered(ops []*claim.Op) (again []*claim.Op) {
	for _, op := range ops {
		if noAnswer(op.Err) {
			again = append(again, op)
		}
	}
	return again
}

// noAnswer reports whether an operation may still get an answer when repeated.
func noAnswer(err error) bool {
	return errors.Is(err, claim.ErrUnknown) || errors.Is(err, claim.ErrUnavailable)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errCircuitOpen is why no claim was sent.
var errCircuitOpen = errors.New("circuit open")

// claim asks the store for a's key, at now. The answer is in a.op.Verdict.
func (d *Deduper) claim(ctx context.Context, a *attempt, now time.Duration) error {
	if _, ok := d.circuit.allow(); !ok {
		return errCircuitOpen
	}
	cctx, end := d.claims.begin(&a.context(ctx).claim, ctx, now)
	defer end()
	d.transmit(cctx, a.newClaim(&d.opts, now))
	if a.op.Verdict.Outcome == claim.Stale {
		// The answer came so late that the lease it granted was over.
		d.transmit(cctx, a.newClaim(&d.opts, d.now()))
	}
	d.storeAnswered(ctx, a.op.Err)
	return a.op.Err
}

// newClaim makes the operation that claims a's key, with a token of its own.
func (a *attempt) newClaim(o *Options, now time.Duration) []*claim.Op {
	a.op = claim.Op{Kind: claim.OpTryClaim, Key: a.key, Request: a.request(o)}
	a.sent = now
	return a.single()
}

// storeAnswered notes what the answer to a claim, or its lack, says of the store.
// A caller who did not wait for the answer says nothing.
func (d *Deduper) storeAnswered(ctx context.Context, err error) {
	switch {
	case !noAnswer(err):
		d.circuit.answered()
	case ctx.Err() == nil:
		d.circuit.failed()
	}
}

// granted notes a claim that was granted.
func (d *Deduper) granted(ctx context.Context, a *attempt) {
	v := &a.op.Verdict
	a.grant = v.Grant
	if v.Takeover {
		d.count.takeovers.Add(1)
	}
	d.decided(ctx, a, Decision{Outcome: claim.Claimed, Source: FromStore, Attempt: v.Grant.Attempt, Takeover: v.Takeover})
}

// unanswered ends an attempt whose claim had no usable answer.
func (d *Deduper) unanswered(ctx context.Context, a *attempt, err error) (Result, error) {
	run, settlement := d.withoutAnswer(ctx, a, err)
	if run {
		return d.runUnclaimed(ctx, a, err)
	}
	return Result{}, settlement
}

// withoutAnswer says by the policy whether an attempt whose claim had no usable
// answer runs without one, or how it is settled.
func (d *Deduper) withoutAnswer(ctx context.Context, a *attempt, err error) (run bool, settlement error) {
	if errors.Is(err, claim.ErrUnknown) {
		d.releaseUnknown(a)
	}
	if d.opts.ObserveOnly {
		return true, nil
	}
	caller := context.Cause(ctx)
	down := err == errCircuitOpen || noAnswer(err)
	if caller == nil && down && d.opts.StoreDown == FailOpen {
		d.count.failedOpen.Add(1)
		return true, nil
	}
	d.decided(ctx, a, Decision{Source: FromPolicy, Err: err})
	if caller != nil {
		return false, fmt.Errorf("dedupe: claim given up: %w", caller)
	}
	d.count.storeDown.Add(1)
	if down {
		return false, bus.RetryAfter(fmt.Errorf("%w: %w", ErrStoreDown, err), d.circuit.pause())
	}
	// Not the store but this record, or this library, is in the way: waiting does
	// not help, and neither does running the handler.
	d.opts.Logger.Error("dedupe: claim refused", "consumer", d.opts.Consumer, "error", err)
	return false, bus.RetryAfter(err, d.opts.Backoff(a.deliveries()))
}

// deliveries returns how often the bus delivered a's message, at least 1.
func (a *attempt) deliveries() int {
	if a.msg == nil {
		return 1
	}
	return max(1, a.msg.Delivery)
}

// releaseUnknown gives back a claim that may have been granted without our
// hearing of it, so that the next delivery need not wait for the lease. It does
// not hold up the message; if the store does not answer now either, the lease
// runs out by itself.
func (d *Deduper) releaseUnknown(a *attempt) {
	op := &claim.Op{Kind: claim.OpRelease, Key: a.key, Grant: claim.Grant{Token: a.op.Request.Token}}
	d.help(func() {
		ctx, cancel := context.WithTimeout(d.abort, d.opts.ClaimTimeout)
		defer cancel()
		d.transmit(ctx, []*claim.Op{op})
	})
}

// runUnclaimed runs the handler without a claim, as a policy asks for because of
// why. The bus's timer is kept all the same: a second delivery would run too.
func (d *Deduper) runUnclaimed(ctx context.Context, a *attempt, why error) (Result, error) {
	d.decided(ctx, a, Decision{Source: FromPolicy, Err: why})
	now := d.now()
	c := a.context(ctx)
	defer c.end()
	d.keeper.addUnclaimed(a, now)
	defer d.keeper.remove(a)
	if err := d.run(c, a, now); err != nil {
		return Result{}, err
	}
	return Result{Bytes: a.run.result}, nil
}
