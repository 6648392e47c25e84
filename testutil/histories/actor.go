package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oncebus/once/claim"
)

// actor is one client of a workload. It behaves as a consumer does, and now and
// then as none should: it sends others' operations again, late, and shows grants
// that are not its own.
type actor struct {
	*Traffic
	number int
	rng    *rand.Rand
	store  claim.Store
	views  map[int]*view
	serial int
}

// view is what an actor knows of a key.
type view struct {
	*topic
	request  claim.Request // the last one
	grant    claim.Grant   // zero: none
	again    *claim.Op     // what has no answer yet
	finished bool
}

func newActor(t *Traffic, number int, store claim.Store) *actor {
	return &actor{
		Traffic: t, number: number, store: store, views: map[int]*view{},
		rng: rand.New(rand.NewPCG(t.Seed, uint64(number))),
	}
}

// at returns the actor's view of the key with a number.
func (a *actor) at(number int) *view {
	v := a.views[number]
	if v == nil {
		v = &view{topic: a.topic(number)}
		a.views[number] = v
	}
	return v
}

// chance is true in so many cases of a hundred.
func (a *actor) chance(percent int) bool { return a.rng.IntN(100) < percent }

// work does the actor's part until the traffic has had its operations.
func (a *actor) work() {
	for more := true; more; {
		size := 1
		if a.chance(12) {
			size += a.rng.IntN(4)
		}
		var batch []sending
		for ; size > 0 && more; size-- {
			number := int(a.begun.Add(1)) - 1
			if more = number < a.Operations; more {
				v := a.pick(number / a.PerKey)
				batch = append(batch, sending{v, a.next(v)})
			}
		}
		pause := a.Pause
		if refused := a.send(batch); refused {
			pause *= 5 // or a server that is away would take all operations
		}
		a.wait(pause)
	}
}

// pick returns one of the keys in use, rarely one that is known to be finished.
func (a *actor) pick(first int) (v *view) {
	for range a.Keys {
		v = a.at(first + a.rng.IntN(a.Keys))
		if !v.finished || a.chance(10) {
			break
		}
	}
	return v
}

// wait pauses for up to most.
func (a *actor) wait(most time.Duration) {
	if most > 0 {
		timer := time.NewTimer(time.Duration(a.rng.Int64N(int64(most))))
		<-timer.C
	}
}

// next returns what the actor does with a key.
func (a *actor) next(v *view) *claim.Op {
	if v.again != nil && a.chance(60) {
		again := *v.again
		return &again
	}
	if op, ok := v.any(a.rng); ok && a.chance(8) {
		return &op
	}
	if op, ok := v.any(a.rng); ok && a.Operators && a.chance(4) {
		if fence := max(op.Grant.Fence, op.Verdict.Grant.Fence); fence != 0 {
			return a.operate(v, fence)
		}
	}
	switch owner := v.owner(); {
	case v.grant.Fence != 0:
		return a.goOn(v)
	case owner.Fence != 0 && a.chance(8):
		// As another thread of the owner: a heartbeat while the handler ends.
		return a.settle(v, owner)
	case !v.request.Token.IsZero() && a.chance(8):
		return a.repeat(v)
	case !v.request.Token.IsZero() && a.chance(8):
		// As after a claim whose answer never came.
		return &claim.Op{Kind: claim.OpRelease, Key: v.key, Grant: claim.Grant{Token: v.request.Token}}
	}
	return a.claim(v)
}

// goOn returns what the owner of a claim does next.
func (a *actor) goOn(v *view) *claim.Op {
	switch n := a.rng.IntN(100); {
	case n < 76:
		return a.settle(v, v.grant)
	case n < 95 && !v.request.Token.IsZero():
		return a.repeat(v)
	default: // a crash: the claim is left behind
		v.grant = claim.Grant{}
		return a.claim(v)
	}
}

// settle returns what keeps or ends the claim that grant is of.
func (a *actor) settle(v *view, grant claim.Grant) *claim.Op {
	op := &claim.Op{Key: v.key, Grant: grant}
	switch n := a.rng.IntN(76); {
	case n < 30:
		op.Kind, op.TTL = claim.OpExtend, a.lease()
	case n < 60:
		op.Kind = claim.OpRelease
		if a.chance(8) {
			op.TTL = min(a.lease()/2, claim.MaxDelay)
		}
	case n < 72:
		op.Kind = claim.OpMarkDone
		op.Completion = claim.Completion{Retention: a.Retention, Fingerprint: v.request.Fingerprint}
		a.serial++
		if a.chance(70) {
			op.Completion.Result = fmt.Appendf(nil, "result %d of client %d", a.serial, a.number)
		}
	default:
		op.Kind, op.Reason = claim.OpMarkDead, fmt.Sprintf("broken at client %d", a.number)
	}
	return op
}

// claim returns a claim of a new claimant.
func (a *actor) claim(v *view) *claim.Op {
	v.request = claim.Request{Token: token(a.rng), TTL: a.lease(), Retention: a.lease() + a.Retention}
	v.request.Retention = max(v.request.Retention, v.request.TTL)
	switch n := a.rng.IntN(10); {
	case n < 5:
		v.request.Fingerprint = claim.Fingerprint{'A'}
	case n < 6:
		v.request.Fingerprint = claim.Fingerprint{'B'}
	}
	if a.chance(5) {
		v.request.MaxAttempts = 3 + a.rng.IntN(3)
	}
	if a.chance(10) {
		v.request.Takeover = claim.Park
	}
	return a.repeat(v)
}

// repeat returns the last claim once more.
func (a *actor) repeat(v *view) *claim.Op {
	return &claim.Op{Kind: claim.OpTryClaim, Key: v.key, Request: v.request}
}

// operate returns an operator's work on the record as it is, or on one with a
// fence, in a state in which it may be.
func (a *actor) operate(v *view, fence uint64) *claim.Op {
	kind := claim.OpForget
	if a.chance(50) {
		kind = claim.OpRevive
	}
	if inspector, ok := a.store.(claim.Inspector); ok && a.chance(60) {
		ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
		defer cancel()
		if seen, err := inspector.Get(ctx, v.key); err == nil && seen.Fence != 0 {
			return &claim.Op{Kind: kind, Key: v.key, Seen: seen.State, Grant: claim.Grant{Fence: seen.Fence}}
		}
	}
	states := [...]claim.State{claim.StatePending, claim.StateReleased, claim.StateDone, claim.StateDead}
	return &claim.Op{Kind: kind, Key: v.key, Seen: states[a.rng.IntN(len(states))], Grant: claim.Grant{Fence: fence}}
}

// lease returns the length of a lease.
func (a *actor) lease() time.Duration {
	return max(claim.MinTTL, a.Lease/2+time.Duration(a.rng.Int64N(int64(a.Lease))))
}

// sending is an operation and the view that it is made in.
type sending struct {
	view *view
	op   *claim.Op
}

// send carries out a batch, or one operation by the method of its kind, and
// notes the answers. It reports whether one was refused.
func (a *actor) send(batch []sending) (refused bool) {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
	defer cancel()
	ops := make([]*claim.Op, len(batch))
	for i, s := range batch {
		s.op.Verdict, s.op.Recovered, s.op.Err = claim.Verdict{}, false, nil
		ops[i] = s.op
	}
	claim.Apply(ctx, a.store, ops)
	for _, s := range batch {
		s.view.note(s.op)
		refused = refused || errors.Is(s.op.Err, claim.ErrUnavailable)
	}
	return refused
}

// note takes down an answer.
func (v *view) note(op *claim.Op) {
	v.add(*op)
	v.again = nil
	if errors.Is(op.Err, claim.ErrUnknown) {
		again := *op
		v.again = &again
		return
	}
	mine := op.Grant.Token == v.grant.Token
	switch {
	case op.Kind == claim.OpTryClaim:
		switch op.Verdict.Outcome {
		case claim.Claimed:
			if op.Request.Token == v.request.Token {
				v.grant = op.Verdict.Grant
			}
		case claim.Done, claim.Dead:
			v.finished = true
		case claim.Stale:
			v.request = claim.Request{}
		}
	case op.Kind == claim.OpForget || op.Kind == claim.OpRevive:
		v.finished = false
	case mine && errors.Is(op.Err, claim.ErrLost):
		v.grant = claim.Grant{}
	case mine && op.Err == nil && op.Kind != claim.OpExtend:
		v.grant = claim.Grant{}
		v.finished = op.Kind != claim.OpRelease
	}
}
