package claimtest

import "github.com/oncebus/once/claim"

var releaseCases = []testCase{
	{
		name: "release keeps history",
		why:  "a release is never a delete: the next grant has the next attempt and a higher fence, and late copies of the claim are Stale",
		run: func(e *env) {
			key, req := e.key(), e.request()
			g := e.claim(key, req)
			e.fine(e.release(key, g, 0))
			e.answers(claim.Stale, key, req)
			next := e.claimAttempt(2, key, e.request())
			if next.Fence <= g.Fence {
				e.Fatalf("fence %d after a release, want more than %d", next.Fence, g.Fence)
			}
		},
	},
	{
		name: "release repeated",
		why:  "a repetition changes nothing, not even the delay",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.fine(e.release(key, g, 0))
			e.unchanged(key, func() { e.fine(e.release(key, g, e.units(long))) })
			e.claimAttempt(2, key, e.request())
			e.lost(e.release(key, g, 0))
		},
	},
	{
		name: "release after a takeover",
		why:  "the stale owner's release must not free the new owner's claim",
		run: func(e *env) {
			key := e.key()
			old := e.claim(key, e.shortRequest())
			e.endLease()
			g := e.claim(key, e.request())
			e.lost(e.release(key, old, 0))
			e.answers(claim.Pending, key, e.request())
			e.done(key, g, claim.Completion{})
		},
	},
	{
		name: "release of a finished key",
		why:  "a release never touches a done or a dead record, by grant or by token alone",
		run: func(e *env) {
			for _, s := range []situation{done, recovered, dead} {
				key := e.key()
				g := s.make(e, key)
				e.unchanged(key, func() {
					e.lost(e.release(key, g, 0))
					e.lost(e.release(key, claim.Grant{Token: g.Token}, 0))
				})
				s.check(e, key, g)
			}
		},
	},
	{
		name: "release before the claim",
		why:  "a claimant that gave up leaves a tombstone: a copy of its claim that lands later is Stale, and others may claim at once",
		run: func(e *env) {
			key, req := e.key(), e.request()
			for range 2 {
				e.fine(e.release(key, claim.Grant{Token: req.Token}, 0))
			}
			e.answers(claim.Stale, key, req)
			g := e.claim(key, e.request())
			if g.Attempt != 1 {
				e.Fatalf("attempt %d, want 1: nothing was granted before", g.Attempt)
			}
			e.answers(claim.Pending, key, req)
			e.lost(e.release(key, claim.Grant{Token: req.Token}, 0))
			e.done(key, g, claim.Completion{})
		},
	},
	{
		name: "release before the claim, with a delay",
		why:  "a tombstone may delay the next claim",
		run: func(e *env) {
			key, req := e.key(), e.request()
			e.fine(e.release(key, claim.Grant{Token: req.Token}, e.units(long)))
			v := e.answers(claim.Pending, key, e.request())
			e.within("the delay that remains", v.Remaining, e.units(long))
			e.answers(claim.Stale, key, req)
		},
	},
	{
		name: "end of a tombstone",
		why:  "a tombstone lives for TombstoneTTL, and not for ever (checked with fake clocks)",
		run: func(e *env) {
			if !e.fakeClock() {
				return
			}
			key, req := e.key(), e.request()
			e.fine(e.release(key, claim.Grant{Token: req.Token}, 0))
			e.Advance(claim.TombstoneTTL - e.Unit)
			e.answers(claim.Stale, key, req)
			e.Advance(e.units(2))
			e.claimAttempt(1, key, req)
		},
	},
	{
		name: "release by token",
		why:  "a claimant that never saw its grant releases by token alone; it ran nothing, so the attempt does not count, and the fence rises all the same",
		run: func(e *env) {
			again := func(key claim.Key, g claim.Grant) {
				if next := e.claim(key, e.request()); next.Attempt != g.Attempt || next.Fence <= g.Fence {
					e.Fatalf("the next claim is attempt %d with fence %d, want %d and over %d", next.Attempt, next.Fence, g.Attempt, g.Fence)
				}
			}
			key, req := e.key(), e.request()
			g := e.claim(key, req)
			e.lost(e.release(key, claim.Grant{Token: e.token()}, 0))
			for range 2 {
				e.fine(e.release(key, claim.Grant{Token: req.Token}, 0))
			}
			again(key, g)

			key, req = e.key(), e.shortRequest()
			g = e.claim(key, req)
			e.endLease()
			e.fine(e.release(key, claim.Grant{Token: req.Token}, 0))
			again(key, g)
		},
	},
	{
		name: "tombstone keeps the attempt",
		why:  "a release of a claim that the store lost keeps the attempt that the claimant knows of",
		run: func(e *env) {
			key := e.key()
			e.fine(e.release(key, claim.Grant{Token: e.token(), Fence: 42, Attempt: 3}, 0))
			e.claimAttempt(4, key, e.request())
		},
	},
	{
		name: "release after the lease",
		why:  "a release counts after the lease too, when nobody took the key: the next claim is no takeover",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.endLease()
			e.fine(e.release(key, g, 0))
			released.check(e, key, g)
		},
	},
}
