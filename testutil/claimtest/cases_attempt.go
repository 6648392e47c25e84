package claimtest

import "github.com/oncebus/once/claim"

// limited returns a request that allows n attempts.
func (e *env) limited(n int) claim.Request {
	r := e.request()
	r.MaxAttempts = n
	return r
}

var attemptCases = []testCase{
	{
		name: "attempts are counted at the grant",
		why:  "every grant counts, after a release and after a crash alike; a repetition does not",
		run: func(e *env) {
			key := e.key()
			for attempt := 1; attempt <= 4; attempt++ {
				req := e.request()
				if attempt%2 == 0 {
					req = e.shortRequest()
				}
				g := e.claimAttempt(attempt, key, req)
				if attempt%2 == 0 {
					e.endLease()
				} else {
					e.claimAttempt(attempt, key, req)
					e.fine(e.release(key, g, 0))
				}
			}
		},
	},
	{
		name: "attempts used up by failures",
		why:  "the claim after the last allowed grant makes the key dead, and dead it stays",
		run: func(e *env) {
			key := e.key()
			for attempt := 1; attempt <= 3; attempt++ {
				g := e.claimAttempt(attempt, key, e.limited(3))
				e.fine(e.release(key, g, 0))
			}
			for range 2 {
				e.exhausted(key, e.limited(3), 3)
			}
			// More attempts would be allowed, but dead ends by retention or an
			// operator only.
			e.exhausted(key, e.limited(9), 3)
			e.exhausted(key, e.limited(0), 3)
		},
	},
	{
		name: "attempts used up by crashes",
		why:  "a handler that takes its process down uses up attempts too, so that a poison message ends",
		run: func(e *env) {
			key := e.key()
			var g claim.Grant
			for attempt := 1; attempt <= 2; attempt++ {
				req := e.limited(2)
				req.TTL = e.Unit
				g = e.claimAttempt(attempt, key, req)
				e.endLease()
			}
			e.exhausted(key, e.limited(2), 2)
			e.lost(e.extend(key, g, e.Unit))
			_, err := e.complete(key, g, claim.Completion{})
			e.lost(err)
			e.lost(e.release(key, g, 0))
		},
	},
	{
		name: "the last attempt runs",
		why:  "the limit is on grants: a live last attempt is Claimed to its owner and Pending to others, and may finish late",
		run: func(e *env) {
			key, req := e.key(), e.limited(1)
			g := e.claim(key, req)
			if again := e.claim(key, req); again != g {
				e.Fatalf("repeated: grant %+v, want %+v", again, g)
			}
			e.answers(claim.Pending, key, e.limited(1))
			e.fine(e.extend(key, g, e.Unit))
			e.endLease()
			e.answers(claim.Stale, key, req)
			e.done(key, g, claim.Completion{})
			e.answers(claim.Done, key, e.limited(1))
		},
	},
	{
		name: "attempts used up, key not claimable",
		why:  "attempts are judged when the key is claimable: not before a delay is over, and not under Park",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.limited(1))
			e.fine(e.release(key, g, e.units(long)))
			e.answers(claim.Pending, key, e.limited(1))

			key = e.key()
			e.claim(key, e.shortRequest())
			e.endLease()
			req := e.limited(1)
			req.Takeover = claim.Park
			e.answers(claim.Parked, key, req)
			e.exhausted(key, e.limited(1), 1)
		},
	},
	{
		name: "no limit",
		why:  "MaxAttempts zero allows any number",
		run: func(e *env) {
			key := e.key()
			for attempt := 1; attempt <= 20; attempt++ {
				g := e.claimAttempt(attempt, key, e.limited(0))
				e.fine(e.release(key, g, 0))
			}
		},
	},
	{
		name: "retention of attempts used up",
		why:  "a key that died of its attempts is kept for the retention of the claim that found it so, and no longer",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.limited(1))
			e.fine(e.release(key, g, 0))
			req := e.limited(1)
			req.TTL, req.Retention = e.Unit, e.Unit
			e.exhausted(key, req, 1)
			e.endLease()
			e.claimAttempt(1, key, e.limited(1))
		},
	},
}

// exhausted claims a key whose attempts must be found used up after n.
func (e *env) exhausted(key claim.Key, req claim.Request, n int) {
	e.Helper()
	v := e.answers(claim.Dead, key, req)
	if v.Attempt != n || v.Reason != claim.AttemptsExhausted(n) {
		e.Fatalf("dead at attempt %d with reason %q, want %d and %q", v.Attempt, v.Reason, n, claim.AttemptsExhausted(n))
	}
}
