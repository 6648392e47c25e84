package claimtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/oncebus/once/claim"
)

// apply sends one batch and checks every answer.
func (e *env) apply(ops ...*claim.Op) {
	e.Helper()
	for _, op := range ops {
		op.Verdict, op.Recovered, op.Err = leftover, true, errLeftover
	}
	e.Store.(claim.Batcher).Apply(e.ctx, ops)
	for _, op := range ops {
		if errors.Is(op.Err, errLeftover) {
			e.Fatalf("Apply did not answer a %v", op.Kind)
		}
		e.checkAnswer(op)
	}
}

func (e *env) claimOp(key claim.Key, req claim.Request) *claim.Op {
	return &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
}

func (e *env) doneOp(key claim.Key, g claim.Grant, result []byte) *claim.Op {
	return &claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g,
		Completion: claim.Completion{Retention: e.units(forever), Result: result}}
}

// outcome fails the case unless op, a TryClaim, was answered want.
func (e *env) outcome(what string, op *claim.Op, want claim.Outcome) {
	e.Helper()
	if op.Err != nil || op.Verdict.Outcome != want {
		e.Fatalf("%s: %v, error %v; want %v", what, op.Verdict.Outcome, op.Err, want)
	}
}

var batchCases = []testCase{
	{
		name: "empty batch", batcher: true,
		why: "no operations are no work",
		run: func(e *env) {
			e.apply()
			e.Store.(claim.Batcher).Apply(e.ctx, nil)
		},
	},
	{
		name: "completions side by side", batcher: true,
		why: "each completion in a batch is its own owner's, also where nothing is kept but that it is done",
		run: func(e *env) {
			const n = 20
			claims, dones := make([]*claim.Op, n), make([]*claim.Op, n)
			for i := range claims {
				claims[i] = e.claimOp(e.key(), e.request())
			}
			e.apply(claims...)
			for i, op := range claims {
				e.outcome("claim", op, claim.Claimed)
				dones[i] = e.doneOp(op.Key, op.Verdict.Grant, nil)
			}
			for range 2 {
				e.apply(dones...)
				for i, op := range dones {
					if op.Err != nil || op.Recovered {
						e.Fatalf("the %dth completion: recovered %v, error %v", i, op.Recovered, op.Err)
					}
				}
			}
			for i, op := range dones {
				op.Grant.Token = claims[(i+1)%n].Verdict.Grant.Token
				op.Grant.Fence++
			}
			e.apply(dones...)
			for i, op := range dones {
				if !e.Places && !errors.Is(op.Err, claim.ErrLost) { // a bit cannot tell whose it is
					e.Fatalf("the %dth completion, by another owner: error %v, want ErrLost", i, op.Err)
				}
			}
		},
	},
	{
		name: "large batch", batcher: true,
		why: "a thousand operations of all kinds are each answered, as they would be one by one",
		run: func(e *env) {
			const n = 1000
			ops := make([]*claim.Op, n)
			for i := range ops {
				ops[i] = e.claimOp(e.key(), e.request())
			}
			e.apply(ops...)
			next := make([]*claim.Op, n)
			for i, op := range ops {
				e.outcome("first claim", op, claim.Claimed)
				g := op.Verdict.Grant
				switch i % 5 {
				case 0:
					next[i] = e.doneOp(op.Key, g, fmt.Append(nil, i))
				case 1:
					next[i] = &claim.Op{Kind: claim.OpMarkDead, Key: op.Key, Grant: g, Reason: fmt.Sprint(i)}
				case 2:
					next[i] = &claim.Op{Kind: claim.OpRelease, Key: op.Key, Grant: g}
				case 3:
					next[i] = &claim.Op{Kind: claim.OpExtend, Key: op.Key, Grant: g, TTL: e.units(long)}
				case 4:
					next[i] = e.doneOp(op.Key, e.foreign(claim.Grant{Fence: g.Fence + 1}), nil)
				}
			}
			e.apply(next...)
			for i, op := range next {
				if lost := i%5 == 4; lost != errors.Is(op.Err, claim.ErrLost) || !lost && op.Err != nil {
					e.Fatalf("%v, the %dth: error %v", op.Kind, i, op.Err)
				}
				ops[i].Request = e.request()
			}
			e.apply(ops...)
			for i, op := range ops {
				want := []claim.Outcome{claim.Done, claim.Dead, claim.Claimed, claim.Pending, claim.Pending}[i%5]
				e.outcome("second claim", op, want)
				switch {
				case want == claim.Done:
					e.sameResult(op.Verdict, fmt.Append(nil, i))
				case want == claim.Dead && op.Verdict.Reason != fmt.Sprint(i):
					e.Fatalf("the %dth: reason %q", i, op.Verdict.Reason)
				case want == claim.Claimed && op.Verdict.Grant.Attempt != 2:
					e.Fatalf("the %dth: attempt %d, want 2", i, op.Verdict.Grant.Attempt)
				}
			}
		},
	},
	{
		name: "fresh and known keys in one batch", batcher: true,
		why: "a key that was granted before keeps its attempt and its higher fence beside keys that were not, though all are claimed on the same terms",
		run: func(e *env) {
			known := e.key()
			g := e.claim(known, e.request())
			e.fine(e.release(known, g, 0))
			var ops []*claim.Op
			for _, key := range []claim.Key{e.key(), known, e.key(), known, e.key()} {
				ops = append(ops, e.claimOp(key, e.request()))
			}
			e.apply(ops...)
			for i, op := range ops {
				want, attempt := claim.Claimed, 1
				if op.Key == known {
					attempt = 2
				}
				if i == 3 {
					want = claim.Pending
				}
				e.outcome("claim", op, want)
				if v := op.Verdict; want == claim.Claimed && (v.Grant.Attempt != attempt || op.Key == known && v.Grant.Fence <= g.Fence) {
					e.Fatalf("the %dth: attempt %d and fence %d, want %d and over %d", i, v.Grant.Attempt, v.Grant.Fence, attempt, g.Fence)
				}
			}
		},
	},
	{
		name: "order on one key", batcher: true,
		why: "operations on one key take effect in the order of the slice, whatever stands between them",
		run: func(e *env) {
			key, a, b := e.key(), e.request(), e.request()
			other := func() *claim.Op { return e.claimOp(e.key(), e.request()) }
			release := func(req claim.Request) *claim.Op {
				return &claim.Op{Kind: claim.OpRelease, Key: key, Grant: claim.Grant{Token: req.Token}}
			}
			ops := []*claim.Op{
				e.claimOp(key, a), other(), e.claimOp(key, b), release(a), other(), e.claimOp(key, a),
				e.claimOp(key, b), other(), e.claimOp(key, b), release(a), release(b), e.claimOp(key, b), e.claimOp(key, a),
			}
			want := []claim.Outcome{claim.Claimed, claim.Claimed, claim.Pending, 0, claim.Claimed, claim.Stale,
				claim.Claimed, claim.Claimed, claim.Claimed, 0, 0, claim.Stale, claim.Claimed}
			e.apply(ops...)
			for i, op := range ops {
				if op.Kind == claim.OpTryClaim {
					e.outcome(fmt.Sprintf("operation %d", i), op, want[i])
				}
			}
			e.fine(ops[3].Err)
			e.lost(ops[9].Err)
			e.fine(ops[10].Err)
			if first, last := ops[0].Verdict.Grant, ops[12].Verdict.Grant; last.Attempt != 1 || last.Fence <= first.Fence {
				e.Fatalf("the last claim is attempt %d with fence %d, want 1, since none was seen by its claimant, and over %d", last.Attempt, last.Fence, first.Fence)
			}
			if ops[8].Verdict.Grant != ops[6].Verdict.Grant {
				e.Fatalf("the repetition in the batch got grant %+v, want %+v", ops[8].Verdict.Grant, ops[6].Verdict.Grant)
			}
		},
	},
	{
		name: "duplicates in one batch", batcher: true,
		why: "a batch with a message twice claims it once",
		run: func(e *env) {
			key := e.key()
			var ops []*claim.Op
			for range 10 {
				ops = append(ops, e.claimOp(key, e.request()))
			}
			e.apply(ops...)
			e.outcome("the first", ops[0], claim.Claimed)
			for _, op := range ops[1:] {
				e.outcome("another", op, claim.Pending)
			}
		},
	},
	{
		name: "one bad operation", batcher: true,
		why: "operations fail one by one: an invalid one leaves its neighbours alone",
		run: func(e *env) {
			good, bad, zero, last := e.claimOp(e.key(), e.request()), e.claimOp(e.key(), claim.Request{}),
				e.claimOp(claim.Key{}, e.request()), e.claimOp(e.key(), e.request())
			e.apply(good, bad, zero, last)
			e.outcome("the good one", good, claim.Claimed)
			e.outcome("the last one", last, claim.Claimed)
			for _, op := range []*claim.Op{bad, zero} {
				if !errors.Is(op.Err, claim.ErrInvalid) {
					e.Fatalf("the bad one: error %v, want ErrInvalid", op.Err)
				}
			}
		},
	},
	{
		name: "large results in one batch", batcher: true,
		why: "results in a batch do not get mixed up, cut, or counted together against a limit",
		run: func(e *env) {
			const n = 8
			var claims, dones []*claim.Op
			for range n {
				claims = append(claims, e.claimOp(e.key(), e.request()))
			}
			e.apply(claims...)
			result := func(i int) []byte { return bytes.Repeat([]byte{byte(i), 0, 255, '\n'}, 64<<10) }
			for i, op := range claims {
				e.outcome("claim", op, claim.Claimed)
				dones = append(dones, e.doneOp(op.Key, op.Verdict.Grant, result(i)))
			}
			e.apply(dones...)
			for i, op := range dones {
				e.fine(op.Err)
				claims[i].Request = e.request()
			}
			e.apply(claims...)
			for i, op := range claims {
				e.outcome("claim of a done key", op, claim.Done)
				e.sameResult(op.Verdict, result(i))
			}
		},
	},
	{
		name: "batch with a cancelled context", batcher: true,
		why: "every operation has an answer, and none reads as Claimed",
		run: func(e *env) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			var ops []*claim.Op
			for range 10 {
				ops = append(ops, e.claimOp(e.key(), e.request()))
			}
			e.ctx = ctx
			e.apply(ops...)
			e.ctx = context.Background()
			for _, op := range ops {
				if !errors.Is(op.Err, claim.ErrUnknown) && !errors.Is(op.Err, claim.ErrUnavailable) {
					e.Fatalf("error %v, want ErrUnknown or ErrUnavailable", op.Err)
				}
			}
		},
	},
}
