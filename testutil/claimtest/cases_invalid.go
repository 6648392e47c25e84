package claimtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/claim"
)

// invalid returns operations that no store may accept. Each spoils one argument
// of an operation that would otherwise succeed.
func invalid() []struct {
	name  string
	kind  claim.OpKind
	spoil func(op *claim.Op)
} {
	type spoiled = struct {
		name  string
		kind  claim.OpKind
		spoil func(op *claim.Op)
	}
	list := []spoiled{
		{"zero token", claim.OpTryClaim, func(op *claim.Op) { op.Request.Token = claim.Token{} }},
		{"negative max attempts", claim.OpTryClaim, func(op *claim.Op) { op.Request.MaxAttempts = -1 }},
		{"max attempts over the limit", claim.OpTryClaim, func(op *claim.Op) { op.Request.MaxAttempts = claim.MaxAttempts + 1 }},
		{"unknown takeover policy", claim.OpTryClaim, func(op *claim.Op) { op.Request.Takeover = claim.Park + 1 }},
		{"retention below the lease", claim.OpTryClaim, func(op *claim.Op) { op.Request.Retention = op.Request.TTL - 1 }},
	}
	for _, kind := range []claim.OpKind{claim.OpTryClaim, claim.OpExtend, claim.OpMarkDone, claim.OpMarkDead, claim.OpRelease} {
		list = append(list, spoiled{"zero key", kind, func(op *claim.Op) { op.Key = claim.Key{} }})
		if kind == claim.OpTryClaim {
			continue
		}
		list = append(list,
			spoiled{"zero token", kind, func(op *claim.Op) { op.Grant.Token = claim.Token{} }},
			spoiled{"negative attempt", kind, func(op *claim.Op) { op.Grant.Attempt = -1 }},
			spoiled{"attempt that cannot be counted on", kind, func(op *claim.Op) { op.Grant.Attempt = 1<<31 - 1 }},
			spoiled{"fence over the limit", kind, func(op *claim.Op) { op.Grant.Fence = claim.MaxFence + 1 }},
			spoiled{"fence that cannot be counted on", kind, func(op *claim.Op) { op.Grant.Fence = 1<<64 - 1 }})
		if kind != claim.OpRelease {
			list = append(list, spoiled{"zero fence", kind, func(op *claim.Op) { op.Grant.Fence = 0 }})
		}
	}
	for _, d := range []struct {
		name      string
		kind      claim.OpKind
		low, high time.Duration
		set       func(op *claim.Op, d time.Duration)
	}{
		{"lease", claim.OpTryClaim, claim.MinTTL, claim.MaxTTL, func(op *claim.Op, d time.Duration) { op.Request.TTL = d }},
		{"retention", claim.OpTryClaim, claim.MinRetention, claim.MaxRetention, func(op *claim.Op, d time.Duration) { op.Request.Retention = d }},
		{"ttl", claim.OpExtend, claim.MinTTL, claim.MaxTTL, func(op *claim.Op, d time.Duration) { op.TTL = d }},
		{"retention", claim.OpMarkDone, claim.MinRetention, claim.MaxRetention, func(op *claim.Op, d time.Duration) { op.Completion.Retention = d }},
		{"delay", claim.OpRelease, 0, claim.MaxDelay, func(op *claim.Op, d time.Duration) { op.TTL = d }},
	} {
		for _, v := range []time.Duration{d.low - 1, -time.Hour, d.high + 1, 1<<63 - 1} {
			list = append(list, spoiled{fmt.Sprintf("%s of %v", d.name, v), d.kind, func(op *claim.Op) { d.set(op, v) }})
		}
	}
	return list
}

// invalidCases makes one case for each operation.
func invalidCases() []testCase {
	var cases []testCase
	for _, kind := range []claim.OpKind{claim.OpTryClaim, claim.OpExtend, claim.OpMarkDone, claim.OpMarkDead, claim.OpRelease} {
		cases = append(cases, testCase{
			name: fmt.Sprintf("invalid arguments of %v", kind),
			why:  "rule 1: all arguments are checked before the first write, and an invalid one is ErrInvalid and nothing else",
			run: func(e *env) {
				for _, s := range invalid() {
					if s.kind == kind {
						e.refuses(s.name, kind, s.spoil)
					}
				}
			},
		})
	}
	return append(cases, testCase{
		name: "unknown operation", batcher: true,
		why: "an operation that a store does not know is ErrInvalid",
		run: func(e *env) {
			for _, kind := range []claim.OpKind{0, claim.OpRevive + 1, 255} {
				op := claim.Op{Kind: kind, Key: e.key(), Verdict: leftover}
				e.Store.(claim.Batcher).Apply(e.ctx, []*claim.Op{&op})
				e.checkAnswer(&op)
				if !errors.Is(op.Err, claim.ErrInvalid) {
					e.Fatalf("%v: error %v, want ErrInvalid", kind, op.Err)
				}
			}
		},
	})
}

// refuses sends an operation with one bad argument to an absent and to a
// pending key, as its owner, and checks that neither changes.
func (e *env) refuses(name string, kind claim.OpKind, spoil func(op *claim.Op)) {
	e.Helper()
	for _, s := range []situation{absent, pending} {
		key := e.key()
		g := s.make(e, key)
		op := row{kind: kind}.op(e, key, g)
		spoil(&op)
		e.unchanged(key, func() { e.do(&op) })
		if !errors.Is(op.Err, claim.ErrInvalid) {
			e.Fatalf("%v with %s: error %v, want ErrInvalid", kind, name, op.Err)
		}
		s.check(e, key, g)
	}
}
