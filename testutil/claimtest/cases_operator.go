package claimtest

import "github.com/oncebus/once/claim"

// parked is a key whose owner vanished under Park.
var parked = situation{name: "parked", make: over.make, check: over.check}

// operatorCases are what an operator does to records that List and Get showed.
var operatorCases = []testCase{
	{
		name: "forget", inspector: true,
		why: "Forget with the fence that was seen makes the key absent, whatever its state; repeated it is fine",
		run: func(e *env) {
			for _, s := range []situation{pending, over, released, delayed, done, bare, recovered, dead} {
				key := e.key()
				g := s.make(e, key)
				seen := e.seen(key)
				for range 2 {
					e.fine(e.forgetSeen(key, seen))
				}
				e.lost(e.extend(key, g, e.Unit))
				e.Advance(e.Unit)
				next := e.claimAttempt(1, key, e.request())
				if next.Fence <= g.Fence && s.name != recovered.name {
					e.Fatalf("fence %d after Forget of a record that was %s, want more than %d", next.Fence, s.name, g.Fence)
				}
				e.lost(e.forgetSeen(key, seen))
				pending.check(e, key, next)
			}
		},
	},
	{
		name: "forget nothing", inspector: true,
		why: "Forget of an absent key is fine: that is what was asked for",
		run: func(e *env) {
			key := e.key()
			e.fine(e.forgetSeen(key, claim.Record{State: claim.StateDone, Fence: 42}))
			e.claimAttempt(1, key, e.request())
		},
	},
	{
		name: "forget with another fence", inspector: true,
		why: "Forget removes the record that the operator saw and no other: a wrong fence is ErrLost",
		run: func(e *env) {
			for _, s := range []situation{pending, over, released, delayed, done, bare, recovered, dead} {
				for _, wrong := range []func(uint64) uint64{
					func(uint64) uint64 { return 0 },
					func(f uint64) uint64 { return f - 1 },
					func(f uint64) uint64 { return f + 1 },
				} {
					key := e.key()
					g := s.make(e, key)
					seen := e.seen(key)
					if seen.Fence == wrong(seen.Fence) {
						continue // the store shows no fence
					}
					seen.Fence = wrong(seen.Fence)
					e.unchanged(key, func() { e.lost(e.forgetSeen(key, seen)) })
					s.check(e, key, g)
				}
			}
		},
	},
	{
		name: "revive", inspector: true,
		why: "a revived key runs exactly once more, at once, with attempts from zero and a higher fence; repeated, Revive is fine",
		run: func(e *env) {
			for _, s := range []situation{parked, released, delayed, done, bare, dead} {
				key := e.key()
				g := s.make(e, key)
				for range 2 {
					e.fine(e.revive(key))
				}
				revived := e.seen(key)
				if revived.Fence < g.Fence {
					e.Fatalf("fence %d after Revive of a record that was %s, want at least %d", revived.Fence, s.name, g.Fence)
				}
				v := e.answers(claim.Claimed, key, e.limited(1))
				if v.Takeover || v.Grant.Attempt != 1 || v.Grant.Fence <= g.Fence {
					e.Fatalf("claim of a revived key that was %s: %+v, want a first attempt with a fence over %d", s.name, v, g.Fence)
				}
				e.unchanged(key, func() { e.lost(e.reviveSeen(key, revived)) })
				e.done(key, v.Grant, claim.Completion{})
				e.answers(claim.Done, key, e.request())
			}
		},
	},
	{
		name: "revive after too many attempts", inspector: true,
		why: "a key that died of its attempts has all of them again",
		run: func(e *env) {
			key := e.key()
			var g claim.Grant
			for range 2 {
				g = e.claim(key, e.limited(2))
				e.fine(e.release(key, g, 0))
			}
			e.exhausted(key, e.limited(2), 2)
			e.fine(e.revive(key))
			for attempt := 1; attempt <= 2; attempt++ {
				e.fine(e.release(key, e.claimAttempt(attempt, key, e.limited(2)), 0))
			}
			e.exhausted(key, e.limited(2), 2)
		},
	},
	{
		name: "revive ends the old claim", inspector: true,
		why: "what the last owner still sends after a Revive is ErrLost, before and after the next claim",
		run: func(e *env) {
			for _, s := range []situation{parked, done, bare, dead} {
				for _, late := range lateOps(0)[:3] {
					key := e.key()
					g := s.make(e, key)
					e.fine(e.revive(key))
					e.unchanged(key, func() { late(e, key, g) })
					next := e.claimAttempt(1, key, e.request())
					e.unchanged(key, func() { late(e, key, g) })
					pending.check(e, key, next)
				}
			}
		},
	},
	{
		name: "revive repeated", inspector: true,
		why: "a repetition of Revive, of any record, is fine until the key is claimed",
		run: func(e *env) {
			for _, s := range []situation{parked, released, delayed, done, bare, dead} {
				key := e.key()
				s.make(e, key)
				seen := e.seen(key)
				e.fine(e.reviveSeen(key, seen))
				e.Advance(e.Unit)
				e.fine(e.reviveSeen(key, seen))
				e.claimAttempt(1, key, e.request())
				e.unchanged(key, func() { e.lost(e.reviveSeen(key, seen)) })
			}
		},
	},
	{
		name: "what an operator saw has moved on", inspector: true,
		why: "a late completion may keep the fence: who saw a parked record must not revive or forget one that is done",
		run: func(e *env) {
			for _, change := range []func(claim.Key, claim.Record) error{e.reviveSeen, e.forgetSeen} {
				key := e.key()
				g := parked.make(e, key)
				seen := e.seen(key)
				e.done(key, g, claim.Completion{})
				e.unchanged(key, func() { e.lost(change(key, seen)) })
				e.answers(claim.Done, key, e.request())
			}
		},
	},
	{
		name: "late copy of the claim after revive", inspector: true,
		why: "a copy of the old claim that lands after a Revive is Stale: nobody is behind it, and it must not use up an attempt",
		run: func(e *env) {
			key := e.key()
			req := e.request()
			g := e.claim(key, req)
			e.fine(e.dead(key, g, "given up"))
			e.fine(e.revive(key))
			e.unchanged(key, func() { e.answers(claim.Stale, key, req) })
			e.claimAttempt(1, key, e.request())
		},
	},
	{
		name: "revive keeps the fingerprint", inspector: true,
		why: "a revived key is still that of one payload",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, with(fingerprintA, e.request()))
			e.done(key, g, claim.Completion{})
			e.fine(e.revive(key))
			e.answers(claim.Mismatch, key, with(fingerprintB, e.request()))
			e.claim(key, with(fingerprintA, e.request()))
		},
	},
	{
		name: "revive what must not be", inspector: true,
		why: "Revive of a running key, an absent one, or one that has moved on is ErrLost and changes nothing",
		run: func(e *env) {
			key := e.key()
			g := pending.make(e, key)
			e.unchanged(key, func() { e.lost(e.revive(key)) })
			pending.check(e, key, g)

			key = e.key()
			e.lost(e.reviveSeen(key, claim.Record{State: claim.StateDone, Fence: 42}))
			e.claimAttempt(1, key, e.request())

			for _, s := range []situation{parked, released, delayed, done, bare, recovered, dead} {
				key := e.key()
				g := s.make(e, key)
				e.unchanged(key, func() {
					seen := e.seen(key)
					seen.Fence--
					e.lost(e.reviveSeen(key, seen))
					seen.Fence += 2
					e.lost(e.reviveSeen(key, seen))
				})
				s.check(e, key, g)
			}
		},
	},
	{
		name: "a revived record ends", inspector: true,
		why: "Revive does not lengthen the life of a record that nobody claims",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.done(key, g, claim.Completion{Retention: e.units(5)})
			e.fine(e.revive(key))
			e.Advance(e.units(6))
			if entry, _ := e.get(key); entry.State != claim.StateAbsent {
				e.Fatalf("Get after the retention: %v, want absent", entry.State)
			}
		},
	},
}
