package claimtest

import "github.com/oncebus/once/claim"

var retentionCases = []testCase{
	{
		name: "a record outlives its lease",
		why:  "attempt and fence survive the lease until the retention is over as well",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.Advance(e.units(5))
			v := e.answers(claim.Claimed, key, e.request())
			if !v.Takeover || v.Grant.Attempt != 2 || v.Grant.Fence <= g.Fence {
				e.Fatalf("got %+v, want a takeover with attempt 2 and a fence over %d", v, g.Fence)
			}
		},
	},
	{
		name: "an unfinished record ends",
		why:  "nothing in a store grows without bound: lease plus retention after the grant the record is absent",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			req.Retention = e.Unit
			g := e.claim(key, req)
			e.Advance(e.units(3))
			v := e.answers(claim.Claimed, key, req)
			if v.Takeover || v.Grant.Attempt != 1 {
				e.Fatalf("got %+v, want a first attempt", v)
			}
			if v.Grant.Fence <= g.Fence {
				e.Fatalf("fence %d after the retention, want more than %d", v.Grant.Fence, g.Fence)
			}
		},
	},
	{
		name: "a released record ends",
		why:  "a released record lives for its delay and the retention of its claim",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			req.Retention = e.Unit
			e.fine(e.release(key, e.claim(key, req), e.units(long)))
			e.Advance(e.units(4))
			e.answers(claim.Pending, key, e.request())

			key = e.key()
			e.fine(e.release(key, e.claim(key, req), 0))
			e.endLease()
			e.claimAttempt(1, key, req)
		},
	},
	{
		name: "done lasts for its retention",
		why:  "done ends by its own retention, not with the lease or the retention of the claim",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			req.Retention = e.Unit
			e.done(key, e.claim(key, req), claim.Completion{Retention: e.units(long)})
			e.Advance(e.units(5))
			v := e.answers(claim.Done, key, e.request())
			e.within("the retention that remains", v.Remaining, e.units(long))
		},
	},
	{
		name: "done ends",
		why:  "after its retention a done key is absent, though the claim would have been kept for longer",
		run: func(e *env) {
			for _, result := range [][]byte{nil, []byte(keptResult)} {
				key := e.key()
				g := e.claim(key, e.request())
				e.done(key, g, claim.Completion{Retention: e.Unit, Result: result})
				e.endLease()
				next := e.claimAttempt(1, key, e.request())
				if next.Fence <= g.Fence {
					e.Fatalf("fence %d after the retention, want more than %d", next.Fence, g.Fence)
				}
			}
		},
	},
	{
		name: "done in time",
		why:  "a key that is done for the retention of its claim is done for at least that long, and for at most what was left of the lease longer",
		run: func(e *env) {
			for _, result := range [][]byte{nil, []byte(keptResult)} {
				key, req := e.key(), e.shortRequest()
				req.Retention = e.units(2)
				g := e.claim(key, req)
				e.done(key, g, claim.Completion{Retention: req.Retention, Result: result})
				v := e.answers(claim.Done, key, e.request())
				e.within("the retention that remains", v.Remaining, req.TTL+req.Retention)
				e.Advance(req.TTL + req.Retention + e.Unit)
				next := e.claimAttempt(1, key, e.request())
				if next.Fence <= g.Fence {
					e.Fatalf("fence %d after the retention, want more than %d", next.Fence, g.Fence)
				}
			}
		},
	},
	{
		name: "a recovered completion ends",
		why:  "a recovered completion has the retention of any other",
		run: func(e *env) {
			key := e.key()
			if _, err := e.complete(key, absent.make(e, key), claim.Completion{Retention: e.Unit}); err != nil {
				e.Fatalf("%v", err)
			}
			e.answers(claim.Done, key, e.request())
			e.endLease()
			e.claimAttempt(1, key, e.request())
		},
	},
	{
		name: "dead lasts for the retention of its claim",
		why:  "dead outlives the lease and ends after the retention that was asked for at the claim",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.fine(e.dead(key, g, deadReason))
			e.Advance(e.units(5))
			dead.check(e, key, g)

			key = e.key()
			req := e.shortRequest()
			req.Retention = e.Unit
			e.fine(e.dead(key, e.claim(key, req), deadReason))
			e.endLease()
			e.claimAttempt(1, key, e.request())
		},
	},
	{
		name: "the largest durations",
		why:  "every store takes the limits of package claim themselves",
		run: func(e *env) {
			key := e.key()
			req := claim.Request{Token: e.token(), TTL: claim.MaxTTL, Retention: claim.MaxRetention,
				MaxAttempts: claim.MaxAttempts}
			g := e.claim(key, req)
			e.fine(e.extend(key, g, claim.MaxTTL))
			e.fine(e.release(key, g, claim.MaxDelay))
			v := e.answers(claim.Pending, key, e.request())
			e.within("the delay that remains", v.Remaining, claim.MaxDelay)

			key = e.key()
			e.done(key, e.claim(key, e.request()), claim.Completion{Retention: claim.MaxRetention})
			v = e.answers(claim.Done, key, e.request())
			if v.Remaining <= claim.MaxRetention/2 || v.Remaining > claim.MaxRetention {
				e.Fatalf("%v of the retention remain, want nearly %v", v.Remaining, claim.MaxRetention)
			}
		},
	},
	{
		name: "the smallest durations",
		why:  "every store takes the limits of package claim themselves",
		run: func(e *env) {
			key := e.key()
			e.tryClaim(key, claim.Request{Token: e.token(), TTL: claim.MinTTL, Retention: claim.MinRetention})
			e.Advance(e.Unit + claim.MinTTL + claim.MinRetention)
			g := e.claimAttempt(1, key, e.request())
			e.done(key, g, claim.Completion{Retention: claim.MinRetention})
			e.Advance(e.Unit + claim.MinRetention)
			e.claimAttempt(1, key, e.request())
		},
	},
}
