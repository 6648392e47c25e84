package dedupe

import (
	"context"
	"fmt"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// WrapBatch returns a bus.BatchHandler that runs h for those messages of a batch
// whose claim was granted, in the order of the batch: one trip claims them all
// and one commits them. Of messages with one key in a batch the first runs and
// the others share its ending. When nothing is granted h is not called.
//
// h returns one error for each message that it was handed. A panic, a Goexit or a
// wrong number of errors is a failure of all of them. The context of h is that of
// the batch: it is cancelled when the lease of any message in it is lost; see
// ForMessage for the fence, attempt and child keys of one message.
//
// WrapBatch panics if h is nil.
func (d *Deduper) WrapBatch(h bus.BatchHandler) bus.BatchHandler {
	if h == nil {
		panic("dedupe: WrapBatch of a nil handler")
	}
	return func(ctx context.Context, msgs []*bus.Message) []error {
		b := &batch{d: d, handler: h, members: make([]member, len(msgs)), errs: make([]error, len(msgs))}
		if err := d.enter(len(msgs)); err != nil {
			return repeat(err, len(msgs))
		}
		defer d.exit(len(msgs))
		b.process(ctx, msgs)
		return b.errs
	}
}

// batch is one call of a wrapped batch handler on its way through the steps.
type batch struct {
	d       *Deduper
	handler bus.BatchHandler
	members []member
	errs    []error // one for each member
	running []*member
}

// member is one message of a batch.
type member struct {
	attempt
	err     *error  // its place in batch.errs
	leads   bool    // of its key in this process, to leave at the end
	claimed bool    // has a claim to be ended
	leader  *member // the earlier member of the batch with the same key
}

func (b *batch) process(ctx context.Context, msgs []*bus.Message) {
	b.d.count.deliveries.Add(int64(len(msgs)))
	defer b.leave()
	now := b.d.now()
	byKey := make(map[claim.Digest]*member, len(msgs))
	var asking []*member
	for i, msg := range msgs {
		m := &b.members[i]
		m.msg, m.begun, m.err = msg, now, &b.errs[i]
		if b.identify(ctx, m, byKey) {
			asking = append(asking, m)
		}
	}
	b.claim(ctx, asking)
	b.run(ctx)
	for i := range b.members {
		m := &b.members[i]
		if m.leader != nil {
			*m.err = b.follow(ctx, m)
		}
		b.d.settled(ctx, &m.attempt, *m.err)
	}
}

// identify takes m up to the point where the store has to be asked, and reports
// whether it has to be.
func (b *batch) identify(ctx context.Context, m *member, byKey map[claim.Digest]*member) (ask bool) {
	d, a := b.d, &m.attempt
	err := d.identify(a)
	switch {
	case err != nil:
		*m.err = d.unidentified(ctx, a, err)
		return false
	case a.key.IsZero():
		d.count.passedThrough.Add(1)
		b.unclaimed(ctx, m, ErrNoID)
		return false
	case d.opts.ObserveOnly:
		return true
	}
	digest := a.key.Digest()
	if m.leader = byKey[digest]; m.leader != nil {
		return false
	}
	if _, ok, err := d.recall(ctx, a); ok {
		*m.err = err
		return false
	}
	if other := d.flights.join(a); other != nil {
		*m.err = d.pending(ctx, a, FromFlight, d.patienceFor(other))
		return false
	}
	m.leads = true
	byKey[digest] = m
	return true
}

// claim asks the store for all keys in one trip and decides about each.
func (b *batch) claim(ctx context.Context, asking []*member) {
	if len(asking) == 0 {
		return
	}
	d := b.d
	if _, ok := d.circuit.allow(); !ok {
		for _, m := range asking {
			b.unanswered(ctx, m, errCircuitOpen)
		}
		return
	}
	cctx, cancel := context.WithTimeout(ctx, d.opts.ClaimTimeout)
	defer cancel()
	sent := d.now()
	ops := make([]*claim.Op, len(asking))
	for i, m := range asking {
		ops[i] = m.newClaim(&d.opts, sent)[0]
	}
	d.transmit(cctx, ops)
	var down error
	for _, m := range asking {
		if noAnswer(m.op.Err) {
			down = m.op.Err
		}
		b.decide(ctx, m)
	}
	d.storeAnswered(ctx, down)
}

func (b *batch) decide(ctx context.Context, m *member) {
	a := &m.attempt
	switch {
	case a.op.Err != nil:
		b.unanswered(ctx, m, a.op.Err)
	case a.op.Verdict.Outcome == claim.Claimed:
		b.d.granted(ctx, a)
		m.claimed = true
		b.running = append(b.running, m)
	case b.d.opts.ObserveOnly:
		b.d.skipped(ctx, a)
		b.unclaimed(ctx, m, nil)
	default:
		_, *m.err = b.d.declined(ctx, a)
	}
}

// unanswered ends m, whose claim had no usable answer, by the policy.
func (b *batch) unanswered(ctx context.Context, m *member, err error) {
	run, settlement := b.d.withoutAnswer(ctx, &m.attempt, err)
	if *m.err = settlement; run {
		b.unclaimed(ctx, m, err)
	}
}

// unclaimed adds m to those that run without a claim.
func (b *batch) unclaimed(ctx context.Context, m *member, why error) {
	b.d.decided(ctx, &m.attempt, Decision{Source: FromPolicy, Err: why})
	b.running = append(b.running, m)
}

// run hands the messages to the handler while their leases are kept, and ends
// each by what the handler returned for it.
func (b *batch) run(ctx context.Context) {
	if len(b.running) == 0 {
		return
	}
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.keep(ctx, cancel)
	defer b.unkeep()
	if len(b.running) == 0 {
		return
	}
	msgs := make([]*bus.Message, len(b.running))
	bctx := &batchContext{runCtx, make(map[*bus.Message]*attempt, len(b.running))}
	for i, m := range b.running {
		msgs[i] = m.msg
		bctx.attempts[m.msg] = &m.attempt
	}
	begun := time.Now()
	b.d.count.runs.Add(int64(len(msgs)))
	var errs []error
	bus.Guard(func() error {
		errs = b.handler(bctx, msgs)
		if len(errs) != len(msgs) {
			return fmt.Errorf("%w: %d for %d messages", bus.ErrBatchResult, len(errs), len(msgs))
		}
		return nil
	}, func(err error) {
		if err != nil {
			errs = repeat(err, len(msgs))
		}
		for i, m := range b.running {
			b.d.ran(ctx, &m.attempt, errs[i], time.Since(begun))
		}
		b.finish(ctx, errs)
	})
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// keep hands the leases to the keeper. A message whose lease is over already is
// given back and does not run.
func (b *batch) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	kept, now := b.running[:0], b.d.now()
	for _, m := range b.running {
		if !m.claimed {
			b.d.keeper.addUnclaimed(&m.attempt, now)
		} else if !b.d.keep(&m.attempt, cancel, now) {
			m.claimed = false
			*m.err = b.d.tooLate(ctx, &m.attempt)
			continue
		}
		kept = append(kept, m)
	}
	b.running = kept
}

// unkeep takes the leases back.
func (b *batch) unkeep() {
	for _, m := range b.running {
		b.d.keeper.remove(&m.attempt)
	}
}

// finish ends each message that ran by its error, all in one trip.
func (b *batch) finish(ctx context.Context, errs []error) {
	d := b.d
	var ops []*claim.Op
	patience := time.Duration(0)
	leaseErrs := make([]error, len(b.running))
	for i, m := range b.running {
		if !m.claimed {
			*m.err = errs[i]
			continue
		}
		leaseErrs[i] = d.conclude(ctx, &m.attempt, errs[i])
		if d.planned(&m.attempt) {
			ops = append(ops, &m.op)
			patience = max(patience, d.patience(m.plan.kind))
		}
	}
	if len(ops) > 0 {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		d.transmit(sctx, ops)
	}
	for i, m := range b.running {
		if m.claimed {
			_, *m.err = d.ended(&m.attempt, leaseErrs[i])
		}
	}
}

// follow settles a message like the earlier one of the batch with its key.
func (b *batch) follow(ctx context.Context, m *member) error {
	a, leader := &m.attempt, m.leader
	if leader.fp.Differs(a.fp) {
		return b.d.mismatch(ctx, a, FromFlight)
	}
	settlement := bus.SettlementOf(*leader.err)
	if settlement.Action == bus.ActionAck {
		_, err := b.d.duplicate(ctx, a, FromFlight, claim.Verdict{Result: leader.result, Omitted: leader.omitted})
		return err
	}
	return b.d.pending(ctx, a, FromFlight, settlement.Delay)
}

// leave ends the leadership of the batch's keys.
func (b *batch) leave() {
	for i := range b.members {
		if m := &b.members[i]; m.leads {
			b.d.flights.leave(&m.attempt)
		}
	}
}
