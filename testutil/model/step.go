package model

import (
	"errors"
	"time"

	"github.com/oncebus/once/claim"
)

// stepFunc has the shape of claim.Step.
type stepFunc func(rec claim.Record, op *claim.Op, now claim.Instant) (next claim.Record, write bool)

// later is the concrete time at which operations are carried out: later than all
// fences, as the store's clock has moved since the last grant.
const later claim.Instant = 1_000_000

// lease stands for every duration that a client sends.
const lease = time.Second

// messageKey is the one key of the model.
var messageKey = func() claim.Key {
	k, err := claim.NewKey("", "model", "message")
	if err != nil {
		panic(err)
	}
	return k
}()

// request is an operation that was sent.
type request struct {
	kind   claim.OpKind
	token  uint8
	fence  uint8
	number uint8
}

// reply is what the store did with a request, and what it answers.
type reply struct {
	kind claim.OpKind
	err  error
	// Of TryClaim; the grant if it is Claimed.
	outcome  claim.Outcome
	takeover bool
	token    uint8
	fence    uint8
	number   uint8
	// Of MarkDone.
	recovered bool

	wrote         bool
	before, after record
}

// claimed reports whether a claimant may start its handler.
func (r *reply) claimed() bool { return r.err == nil && r.outcome == claim.Claimed }

// lost reports whether the claim is definitely no longer the sender's.
func (r *reply) lost() bool { return errors.Is(r.err, claim.ErrLost) }

// done reports whether the key is done, by the claimant's own completion or by
// another's.
func (r *reply) done() bool {
	return r.outcome == claim.Done || r.kind == claim.OpMarkDone && r.err == nil
}

// dead reports whether the message is given up for good.
func (r *reply) dead() bool {
	return r.outcome == claim.Dead || r.outcome == claim.Parked || r.kind == claim.OpMarkDead && r.err == nil
}

// granted reports whether the request made a new grant, as against one that was
// repeated.
func (r *reply) granted() bool { return r.outcome == claim.Claimed && r.wrote }

// same reports whether an operation that was repeated at once may be answered r
// after it was answered q. The takeover is told once.
func (r *reply) same(q *reply) bool {
	return r.outcome == q.outcome && r.fence == q.fence && r.number == q.number &&
		r.err == q.err && r.recovered == q.recovered
}

// operation returns the operation of a request, as the store is handed it. It is
// c.op, which the next call overwrites.
func (c *checker) operation(r request) *claim.Op {
	op := &c.op
	*op = claim.Op{Kind: r.kind, Key: messageKey}
	if r.kind == claim.OpTryClaim {
		op.Request = claim.Request{
			Token: concreteToken(r.token), TTL: lease, Retention: lease,
			MaxAttempts: c.cfg.MaxAttempts, Takeover: c.cfg.Takeover,
		}
		return op
	}
	op.Grant = claim.Grant{Token: concreteToken(r.token), Fence: uint64(r.fence), Attempt: int(r.number)}
	op.TTL = lease
	if r.kind == claim.OpRelease && r.fence == 0 {
		op.TTL = 0 // who never started a handler has nothing to wait for
	}
	op.Completion.Retention = lease
	op.Reason = "failed for good"
	return op
}

// carryOut has the store carry out a request on s, which it does not change, at
// the concrete time now.
func (c *checker) carryOut(s *state, r request, now claim.Instant) reply {
	rep := reply{kind: r.kind, before: s.rec, after: s.rec}
	op := c.operation(r)
	if rep.err = op.Validate(); rep.err != nil {
		return rep
	}
	next, wrote := c.step(concreteRecord(s.rec, now), op, now)
	rep.outcome, rep.takeover, rep.recovered = op.Verdict.Outcome, op.Verdict.Takeover, op.Recovered
	rep.err, rep.wrote = op.Err, wrote
	if wrote {
		rep.after = c.abstractRecord(s, next, now)
	}
	if g := op.Verdict.Grant; rep.outcome == claim.Claimed {
		rep.token, rep.fence, rep.number = g.Token[0], abstractFence(s, g.Fence), c.abstractNumber(g.Attempt)
	}
	return rep
}

func concreteToken(token uint8) claim.Token { return claim.Token{token} }

// concreteRecord puts a deadline that is over at now, and one that is not a
// microsecond later: the two sides of the comparison that Step makes.
func concreteRecord(rec record, now claim.Instant) claim.Record {
	if rec.state == claim.StateAbsent {
		return claim.Record{}
	}
	r := claim.Record{
		State: rec.state, Key: messageKey, Token: concreteToken(rec.token), Fence: uint64(rec.fence),
		Attempt: int(rec.number), Deadline: now, Retention: lease, Expires: now.Add(lease), Recovered: rec.recovered,
	}
	if rec.stamped() {
		r.Token, r.Fence = claim.Token{}, r.Token.Stamp()
	}
	if rec.ahead {
		r.Deadline++
	}
	return r
}

func (c *checker) abstractRecord(s *state, r claim.Record, now claim.Instant) record {
	rec := record{
		state: r.State, number: c.abstractNumber(r.Attempt), recovered: r.Recovered,
	}
	if rec.token = stampedToken(&r); rec.token == 0 {
		rec.token, rec.fence = r.Token[0], abstractFence(s, r.Fence)
	}
	// Of a finished record the deadline says nothing any more.
	if r.State == claim.StatePending || r.State == claim.StateReleased {
		rec.ahead = now < r.Deadline
	}
	return rec
}

// stampedToken returns the token whose stamp a done record has, or zero. No two
// tokens of the model have one stamp, and none is a fence.
func stampedToken(r *claim.Record) uint8 {
	for token := uint8(1); r.State == claim.StateDone && token <= unusedToken; token++ {
		if concreteToken(token).Stamp() == r.Fence {
			return token
		}
	}
	return 0
}

// abstractFence numbers a fence that came from the clock after the highest so
// far, which it is above.
func abstractFence(s *state, fence uint64) uint8 {
	if fence >= uint64(later) {
		fence = uint64(s.ghost.highest) + 1
	}
	if fence > maxFence {
		panic("model: more grants than a state has room for")
	}
	return uint8(fence)
}

// abstractNumber drops the attempts where nothing depends on them, and counts up
// to the limit where there is one.
func (c *checker) abstractNumber(attempt int) uint8 {
	return uint8(min(attempt, c.cfg.MaxAttempts))
}
