package dedupe

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
// Batches may be handled side by side, and then one is claimed while another is
// committed: let the adapter run two or more at a time (Workers of natsbus and
// membus) where the store is far.
//
// WrapBatch panics if h is nil.
func (d *Deduper) WrapBatch(h bus.BatchHandler) bus.BatchHandler {
	if h == nil {
		panic("dedupe: WrapBatch of a nil handler")
	}
	return func(ctx context.Context, msgs []*bus.Message) []error {
		if err := d.enter(len(msgs)); err != nil {
			return repeat(err, len(msgs))
		}
		defer d.exit(len(msgs))
		b := d.newBatch(ctx, h, msgs)
		b.process(ctx)
		errs := b.errs
		b.free()
		return errs
	}
}

// batch is one call of a wrapped batch handler on its way through the steps. Like
// an attempt it is used again.
type batch struct {
	d       *Deduper
	handler bus.BatchHandler
	members []member
	errs    []error // one for each member; the caller's
	running []*member
	asking  []*member
	ops     []*claim.Op
	ctx     *batchContext
}

// member is one message of a batch.
type member struct {
	attempt
	batch   *batch
	err     *error  // its place in batch.errs
	leads   bool    // of its key in this process, to leave at the end
	claimed bool    // has a claim to be ended
	leader  *member // the earlier member of the batch with the same key
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (d *Deduper) newBatch(ctx context.Context, h bus.BatchHandler, msgs []*bus.Message) *batch {
	b := batches.Get().(*batch)
	n := len(msgs)
	b.d, b.handler, b.errs = d, h, make([]error, n)
	b.ctx = &batchContext{lazyContext: lazyContext{parent: ctx}}
	b.members = slices.Grow(b.members, n)[:n]
	now := d.now()
	for i, msg := range msgs {
		m := &b.members[i]
		m.batch, m.msg, m.begun, m.err = b, msg, now, &b.errs[i]
		m.member = m
	}
	return b
}

// free gives b back. Nothing of it may be used any more but the errors.
func (b *batch) free() {
	for i := range b.members {
		if b.members[i].awaited {
			return
		}
	}
	clear(b.members)
	clear(b.running)
	clear(b.asking)
	clear(b.ops)
	*b = batch{members: b.members[:0], running: b.running[:0], asking: b.asking[:0], ops: b.ops[:0]}
	batches.Put(b)
}

func (b *batch) process(ctx context.Context) {
	b.d.count.deliveries.Add(int64(len(b.members)))
	defer b.leave()
	for i := range b.members {
		if m := &b.members[i]; b.identify(ctx, m) {
			b.asking = append(b.asking, m)
		}
	}
	b.claim(ctx)
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
func (b *batch) identify(ctx context.Context, m *member) (ask bool) {
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
	if _, ok, err := d.recall(ctx, a, a.begun); ok {
		*m.err = err
		return false
	}
	m.leads, m.leader, _ = d.flights.join(a, false)
	switch {
	case m.leads, m.leader != nil:
	case d.contradicts(a):
		*m.err = d.mismatch(ctx, a, FromFlight)
	default:
		*m.err = d.pending(ctx, a, FromFlight, d.patienceFor(a))
	}
	return m.leads
}

// claim asks the store for all keys in one trip and decides about each.
func (b *batch) claim(ctx context.Context) {
	if len(b.asking) == 0 {
		return
	}
	d := b.d
	if _, ok := d.circuit.allow(); !ok {
		for _, m := range b.asking {
			b.unanswered(ctx, m, errCircuitOpen)
		}
		return
	}
	sent := d.now()
	cctx, end := d.claims.begin(&b.ctx.claim, ctx, sent)
	defer end()
	for _, m := range b.asking {
		b.ops = append(b.ops, m.newClaim(&d.opts, sent)[0])
	}
	d.transmit(cctx, b.ops)
	var down error
	for _, m := range b.asking {
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
	defer b.ctx.end()
	begun := b.d.now()
	b.keep(ctx, begun)
	defer b.unkeep()
	if len(b.running) == 0 {
		return
	}
	msgs := make([]*bus.Message, len(b.running))
	b.ctx.messages = make([]messageContext, len(b.running))
	for i, m := range b.running {
		c := &b.ctx.messages[i]
		c.Context, c.msg, m.run = b.ctx, m.msg, &c.run
		m.introduce()
		msgs[i] = m.msg
	}
	b.d.count.runs.Add(int64(len(msgs)))
	var errs []error
	bus.Guard(func() error {
		errs = b.handler(b.ctx, msgs)
		if len(errs) != len(msgs) {
			return fmt.Errorf("%w: %d for %d messages", bus.ErrBatchResult, len(errs), len(msgs))
		}
		return nil
	}, func(err error) {
		if err != nil {
			errs = repeat(err, len(msgs))
		}
		for i, m := range b.running {
			b.d.ran(ctx, &m.attempt, errs[i], begun)
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
func (b *batch) keep(ctx context.Context, now time.Duration) {
	kept := b.running[:0]
	for _, m := range b.running {
		if !m.claimed {
			b.d.keeper.addUnclaimed(&m.attempt, now)
		} else if !b.d.keep(&m.attempt, &b.ctx.lazyContext, now) {
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
	b.ops = b.ops[:0]
	kind := claim.OpRelease // which has the least patience
	now := d.now()
	leaseErrs := make([]error, len(b.running))
	for i, m := range b.running {
		if !m.claimed {
			*m.err = errs[i]
			continue
		}
		leaseErrs[i] = d.conclude(ctx, &m.attempt, errs[i])
		if m.ending = now; d.planned(&m.attempt) {
			b.ops = append(b.ops, &m.op)
			if m.plan.kind != claim.OpRelease {
				kind = m.plan.kind
			}
		}
	}
	if len(b.ops) > 0 {
		sctx, end := d.endingContext(ctx, &b.ctx.commit, kind, d.now())
		defer end()
		d.transmit(sctx, b.ops)
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
		v := leader.op.Verdict
		if r := leader.run; r != nil {
			v = claim.Verdict{Result: r.result, Omitted: r.omitted}
		}
		_, err := b.d.duplicate(ctx, a, FromFlight, claim.Verdict{Result: v.Result, Omitted: v.Omitted})
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
