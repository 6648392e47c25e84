package dedupe

import (
	"context"
	"fmt"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Do runs fn unless it has run for id, and returns its result, or the one that
// was kept when it ran. It is the primitive on which Wrap stands, for work that
// comes without a bus.
//
// When fn fails, the claim is given back and Do returns fn's error, wrapped. The
// other errors are those of this package; bus.SettlementOf(err).Delay says when
// it makes sense to try again. Options.DeadLetter and OnDuplicate are for
// messages and not called.
func (d *Deduper) Do(ctx context.Context, id Identity, fn func(ctx context.Context) ([]byte, error)) (Result, error) {
	if d.remembers(&id) {
		return Result{Duplicate: true}, nil
	}
	key, err := d.key(&id)
	if err != nil {
		return Result{}, bus.Reject(fmt.Errorf("%w: %w", ErrNoID, err))
	}
	a := newAttempt()
	a.key, a.fp, a.fn = key, id.Fingerprint, fn
	return d.process(ctx, a)
}

// remembers reports whether this process remembers id as done, and counts the
// duplicate. It is a short cut for what there may be most of, and needs neither a
// key nor an attempt: for all that is not so simple, or is to be told to somebody,
// it reports false.
func (d *Deduper) remembers(id *Identity) bool {
	if !d.shortcut || id.Namespace != "" || d.closing.Load() {
		return false
	}
	fp, found := d.memory.findID(id.ID, d.now())
	if !found || fp != id.Fingerprint {
		return false
	}
	d.count.remembered.Add(1)
	return true
}

// Wrap returns a bus.Handler that runs h at most once for each message id, as far
// as the guarantees of the package documentation go.
func (d *Deduper) Wrap(h bus.Handler) bus.Handler {
	if h == nil {
		panic("dedupe: Wrap of a nil handler")
	}
	return func(ctx context.Context, m *bus.Message) error {
		a := newAttempt()
		a.msg, a.handler = m, h
		_, err := d.process(ctx, a)
		return err
	}
}

// process takes an attempt through the steps and frees it, unless the handler
// takes the goroutine away.
func (d *Deduper) process(ctx context.Context, a *attempt) (Result, error) {
	if err := d.enter(1); err != nil {
		return Result{}, err
	}
	defer d.exit(1)
	d.count.deliveries.Add(1)
	a.begun = d.now()
	result, err := d.answer(ctx, a)
	d.settled(ctx, a, err)
	a.free()
	return result, err
}

func (d *Deduper) answer(ctx context.Context, a *attempt) (Result, error) {
	if err := d.identify(a); err != nil {
		return Result{}, d.unidentified(ctx, a, err)
	}
	if a.key.IsZero() {
		d.count.passedThrough.Add(1)
		return d.runUnclaimed(ctx, a, ErrNoID)
	}
	if d.opts.ObserveOnly {
		return d.observe(ctx, a)
	}
	until := after(a.begun, d.opts.LocalWait)
	now := a.begun
	for ; ; now = d.now() {
		if result, ok, err := d.recall(ctx, a, now); ok {
			return result, err
		}
		leads, _, landed := d.flights.join(a, now < until)
		if leads {
			break
		}
		if d.contradicts(a) {
			return Result{}, d.mismatch(ctx, a, FromFlight)
		}
		if now >= until || !wait(ctx, landed, until-now) {
			return Result{}, d.pending(ctx, a, FromFlight, d.patienceFor(a))
		}
	}
	defer d.flights.leave(a)
	if err := d.claim(ctx, a, now); err != nil {
		return d.unanswered(ctx, a, err)
	}
	return d.decide(ctx, a)
}

// unidentified ends a message without an id that is not to run.
func (d *Deduper) unidentified(ctx context.Context, a *attempt, err error) error {
	d.decided(ctx, a, Decision{Source: FromPolicy, Err: err})
	return d.reject(ctx, a, 0, err)
}

// recall answers a from what this process remembers at now, if it can.
func (d *Deduper) recall(ctx context.Context, a *attempt, now time.Duration) (result Result, ok bool, err error) {
	fp, found := d.memory.find(&a.key, now)
	// Where only one of the two has a fingerprint, the store may know another.
	if found && fp.IsZero() == a.fp.IsZero() {
		if fp.Differs(a.fp) {
			return Result{}, true, d.mismatch(ctx, a, FromMemory)
		}
		d.count.memoryHits.Add(1)
		result, err = d.duplicate(ctx, a, FromMemory, claim.Verdict{})
		return result, true, err
	}
	return d.finished.recall(ctx, a)
}

// duplicate ends an attempt whose key is done.
func (d *Deduper) duplicate(ctx context.Context, a *attempt, from Source, v claim.Verdict) (Result, error) {
	age := d.age(&v)
	d.count.duplicate(age)
	d.decided(ctx, a, Decision{Outcome: claim.Done, Source: from, Age: age})
	result := Result{Bytes: v.Result, Omitted: v.Omitted, Duplicate: true}
	if a.msg != nil && d.opts.OnDuplicate != nil {
		return result, d.opts.OnDuplicate(ctx, a.msg, result)
	}
	return result, nil
}

// age returns how long ago the key was claimed of which the store answered v that
// it is done, or zero if v is no answer of the store's. Of a key that was done late,
// or whose lease was extended, it is up to a lease too much or too little.
func (d *Deduper) age(v *claim.Verdict) time.Duration {
	if v.Outcome != claim.Done {
		return 0
	}
	return max(0, d.opts.Retention+d.opts.Lease-v.Remaining)
}

// pending ends an attempt that has to come again after remaining, or after a
// lease if that is shorter: a store whose clock was set back tells more than the
// owner will ever take.
func (d *Deduper) pending(ctx context.Context, a *attempt, from Source, remaining time.Duration) error {
	d.count.pending.Add(1)
	d.decided(ctx, a, Decision{Outcome: claim.Pending, Source: from})
	remaining = min(remaining, d.opts.Lease)
	return bus.RetryAfter(&PendingError{remaining}, jitter(remaining))
}

// contradicts reports whether the leader of a's key in this process holds a claim
// for another payload. Before its claim is granted, it may be the leader that is
// wrong.
func (d *Deduper) contradicts(a *attempt) (differs bool) {
	if !a.fp.IsZero() {
		d.flights.look(a.key.Digest(), func(leader *attempt) { differs = leader.fp.Differs(a.fp) && d.keeper.holds(leader) })
	}
	return differs
}

// patienceFor returns how long to wait for the leader of a's key in this process.
// One that outlived its lease is still running, so that asking at once again and
// again would lead nowhere.
func (d *Deduper) patienceFor(a *attempt) time.Duration {
	patience := d.opts.Lease / 3
	d.flights.look(a.key.Digest(), func(leader *attempt) { patience = max(patience, d.keeper.remaining(leader)) })
	return patience
}

func (d *Deduper) mismatch(ctx context.Context, a *attempt, from Source) error {
	d.count.mismatched.Add(1)
	d.decided(ctx, a, Decision{Outcome: claim.Mismatch, Source: from})
	return d.reject(ctx, a, 0, ErrMismatch)
}

// decide ends an attempt by the store's verdict, or runs its handler.
func (d *Deduper) decide(ctx context.Context, a *attempt) (Result, error) {
	if a.op.Verdict.Outcome != claim.Claimed {
		return d.declined(ctx, a)
	}
	d.granted(ctx, a)
	return d.execute(ctx, a)
}

// declined ends an attempt whose claim was not granted.
func (d *Deduper) declined(ctx context.Context, a *attempt) (Result, error) {
	v := a.op.Verdict
	switch v.Outcome {
	case claim.Done:
		if v.Result == nil && !v.Omitted {
			d.memory.add(&a.key, a.fp, v.Remaining, d.now())
		}
		return d.duplicate(ctx, a, FromStore, v)
	case claim.Pending:
		return Result{}, d.pending(ctx, a, FromStore, v.Remaining)
	case claim.Mismatch:
		return Result{}, d.mismatch(ctx, a, FromStore)
	case claim.Dead:
		d.count.dead.Add(1)
		d.decided(ctx, a, Decision{Outcome: v.Outcome, Source: FromStore, Attempt: v.Attempt})
		return Result{}, d.reject(ctx, a, v.Attempt, fmt.Errorf("%w: %s", ErrDead, v.Reason))
	case claim.Parked:
		d.count.parked.Add(1)
		d.decided(ctx, a, Decision{Outcome: v.Outcome, Source: FromStore, Attempt: v.Attempt})
		return Result{}, d.reject(ctx, a, v.Attempt, ErrParked)
	}
	return d.unanswered(ctx, a, claim.Corrupt("the store's verdict is "+v.Outcome.String()))
}

// reject sends a message to the dead-letter sink, if there is one, and then
// rejects it because of err.
func (d *Deduper) reject(ctx context.Context, a *attempt, attempt int, err error) error {
	if sinkErr := d.deadLetter(ctx, a, attempt, err); sinkErr != nil {
		return bus.RetryAfter(fmt.Errorf("%w; %w", err, sinkErr), d.opts.Backoff(max(1, attempt)))
	}
	return bus.Reject(err)
}

// deadLetter hands a's message to the sink, if there are both.
func (d *Deduper) deadLetter(ctx context.Context, a *attempt, attempt int, reason error) error {
	if a.msg == nil || d.opts.DeadLetter == nil {
		return nil
	}
	id := a.key.Digest()
	if a.key.IsZero() {
		id = nameOf(a.msg)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opts.CommitTimeout)
	defer cancel()
	err := d.opts.DeadLetter(ctx, bus.DeadLetter{
		Message: a.msg, ID: "dead." + id.String(), Consumer: d.opts.Consumer, Reason: claim.CutReason(reason.Error()), Attempt: attempt,
	})
	if err != nil {
		d.count.sinkFailed.Add(1)
		d.opts.Logger.Error("dedupe: dead-letter sink failed, the message is retried", "consumer", d.opts.Consumer, "error", err)
		return fmt.Errorf("dedupe: dead-letter sink: %w", err)
	}
	d.count.deadLettered.Add(1)
	return nil
}
