package claimtest

import "github.com/oncebus/once/claim"

var claimCases = []testCase{
	{
		name: "first claim",
		why:  "the first claim of a key is attempt 1, with the whole lease and no takeover",
		run: func(e *env) {
			v := e.answers(claim.Claimed, e.key(), e.request())
			if v.Takeover || v.Grant.Attempt != 1 {
				e.Fatalf("takeover %v, attempt %d; want a plain first attempt", v.Takeover, v.Grant.Attempt)
			}
			if v.Remaining <= e.units(long)/2 {
				e.Fatalf("%v of the lease left, want about %v", v.Remaining, e.units(long))
			}
		},
	},
	{
		name: "claim repeated",
		why:  "after a lost reply the same request is answered Claimed with the same grant, never Pending about one's own claim",
		run: func(e *env) {
			key, req := e.key(), e.request()
			first := e.answers(claim.Claimed, key, req)
			for range 3 {
				again := e.answers(claim.Claimed, key, req)
				if again.Grant != first.Grant || again.Remaining > first.Remaining+e.grace() {
					e.Fatalf("repeated: %+v, want the grant of the first, %+v, and no more of the lease", again, first)
				}
			}
			e.answers(claim.Pending, key, e.request())
		},
	},
	{
		name: "claim repeated does not extend",
		why:  "a late copy of a claim changes nothing: the lease ends when it would have",
		run: func(e *env) {
			key, req := e.key(), e.request()
			g := e.claim(key, req)
			e.fine(e.extend(key, g, e.Unit))
			e.tryClaim(key, req)
			e.endLease()
			e.answers(claim.Stale, key, req)
			e.parks(key)
		},
	},
	{
		name: "takeover",
		why:  "a lease that is over is taken by the next claimant: flagged, attempt plus one, higher fence",
		run: func(e *env) {
			key := e.key()
			old := e.claim(key, e.shortRequest())
			e.endLease()
			req := e.request()
			v := e.answers(claim.Claimed, key, req)
			if !v.Takeover || v.Grant.Attempt != old.Attempt+1 || v.Grant.Fence <= old.Fence {
				e.Fatalf("got %+v, want a takeover with attempt %d and a fence over %d", v, old.Attempt+1, old.Fence)
			}
			if again := e.claim(key, req); again != v.Grant {
				e.Fatalf("repeated: grant %+v, want the same as before, %+v", again, v.Grant)
			}
		},
	},
	{
		name: "stale",
		why:  "a token whose lease is over gets no second grant: its first handler may still run",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			g := e.claim(key, req)
			e.endLease()
			for range 2 {
				e.unchanged(key, func() { e.answers(claim.Stale, key, req) })
			}
			e.done(key, g, claim.Completion{})
		},
	},
	{
		name: "delay of a release",
		why:  "a released key is Pending until its delay is over and claimable, by a plain claim, from then on",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.fine(e.release(key, g, e.units(long)))
			v := e.answers(claim.Pending, key, e.request())
			e.within("the delay that remains", v.Remaining, e.units(long))

			key = e.key()
			g = e.claim(key, e.request())
			e.fine(e.release(key, g, e.Unit))
			e.endLease()
			v = e.answers(claim.Claimed, key, e.request())
			if v.Takeover || v.Grant.Attempt != 2 || v.Grant.Fence <= g.Fence {
				e.Fatalf("got %+v, want a plain claim with attempt 2 and a fence over %d", v, g.Fence)
			}
		},
	},
	{
		name: "park",
		why:  "under Park a lease that another owner let run out is Parked, unchanged, and its owner may still finish",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.endLease()
			for range 2 {
				e.unchanged(key, func() {
					if v := e.parks(key); v.Attempt != 1 {
						e.Fatalf("parked at attempt %d, want 1", v.Attempt)
					}
				})
			}
			e.done(key, g, claim.Completion{})
			e.answers(claim.Done, key, e.request())
		},
	},
	{
		name: "park elsewhere",
		why:  "Park changes nothing but takeovers: absent and released keys are claimed, live leases are Pending, one's own claim is Claimed or Stale",
		run: func(e *env) {
			park := func(req claim.Request) claim.Request {
				req.Takeover = claim.Park
				return req
			}
			key, req := e.key(), park(e.request())
			g := e.claim(key, req)
			if again := e.claim(key, req); again != g {
				e.Fatalf("repeated: grant %+v, want %+v", again, g)
			}
			e.answers(claim.Pending, key, park(e.request()))
			e.fine(e.release(key, g, 0))
			e.answers(claim.Stale, key, req)
			req = park(e.shortRequest())
			e.claimAttempt(2, key, req)
			e.endLease()
			e.answers(claim.Stale, key, req)
			e.parks(key)
			e.claimAttempt(3, key, e.request())
		},
	},
}
