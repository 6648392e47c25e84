package claimtest

import "github.com/oncebus/once/claim"

// Fingerprints with bytes that a careless encoding would spoil.
var (
	fingerprintA = claim.Fingerprint{0, 0, 255, '"', '\'', '\n', '\r', '\\', ':', ' ', 128, 1, 0, 0, 0, 0}
	fingerprintB = claim.Fingerprint{0, 0, 255, '"', '\'', '\n', '\r', '\\', ':', ' ', 128, 1, 0, 0, 0, 1}
)

// with returns req with a fingerprint.
func with(f claim.Fingerprint, req claim.Request) claim.Request {
	req.Fingerprint = f
	return req
}

// differs checks that A and no fingerprint pass a record that holds A, and that
// B does not.
func (e *env) differs(want claim.Outcome, key claim.Key, req func() claim.Request) {
	e.Helper()
	for range 2 {
		e.unchanged(key, func() { e.answers(claim.Mismatch, key, with(fingerprintB, req())) })
	}
	e.answers(want, key, with(claim.Fingerprint{}, req()))
	e.answers(want, key, with(fingerprintA, req()))
}

var fingerprintCases = []testCase{
	{
		name: "mismatch while pending",
		why:  "an id that comes with another payload is Mismatch while the first is being worked on",
		run: func(e *env) {
			key := e.key()
			e.claim(key, with(fingerprintA, e.request()))
			e.differs(claim.Pending, key, e.request)
		},
	},
	{
		name: "mismatch under one token",
		why:  "Mismatch comes before the token: one request with two payloads is a mistake of the caller",
		run: func(e *env) {
			key, req := e.key(), e.request()
			e.claim(key, with(fingerprintA, req))
			e.answers(claim.Mismatch, key, with(fingerprintB, req))
			e.claim(key, with(fingerprintA, req))
		},
	},
	{
		name: "mismatch after the lease",
		why:  "another payload cannot take over, nor be parked or used up",
		run: func(e *env) {
			key := e.key()
			e.claim(key, with(fingerprintA, e.shortRequest()))
			e.endLease()
			park := func() claim.Request {
				r := e.limited(1)
				r.Takeover = claim.Park
				return r
			}
			e.differs(claim.Parked, key, park)
			e.answers(claim.Mismatch, key, with(fingerprintB, e.limited(1)))
			e.claimAttempt(2, key, with(fingerprintA, e.request()))
		},
	},
	{
		name: "mismatch after a release",
		why:  "the fingerprint survives a release",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, with(fingerprintA, e.request()))
			e.fine(e.release(key, g, e.units(long)))
			e.differs(claim.Pending, key, e.request)
		},
	},
	{
		name: "mismatch after completion",
		why:  "the fingerprint survives completion: a reused id is not answered with another message's result",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, with(fingerprintA, e.request()))
			e.done(key, g, claim.Completion{Result: []byte("secret")})
			e.differs(claim.Done, key, e.request)
		},
	},
	{
		name: "mismatch after death",
		why:  "the fingerprint survives death, by word and by exhaustion",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, with(fingerprintA, e.request()))
			e.fine(e.dead(key, g, deadReason))
			e.differs(claim.Dead, key, e.request)

			key = e.key()
			g = e.claim(key, with(fingerprintA, e.request()))
			e.fine(e.release(key, g, 0))
			e.exhausted(key, with(fingerprintA, e.limited(1)), 1)
			e.differs(claim.Dead, key, e.request)
		},
	},
	{
		name: "mismatch after recovery",
		why:  "a recovered completion brings the fingerprint of the request along",
		run: func(e *env) {
			key := e.key()
			g := absent.make(e, key)
			if _, err := e.complete(key, g, claim.Completion{Fingerprint: fingerprintA}); err != nil {
				e.Fatalf("%v", err)
			}
			e.differs(claim.Done, key, e.request)
		},
	},
	{
		name: "the record's fingerprint wins",
		why:  "a completion of a claim that the store has cannot change the fingerprint",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, with(fingerprintA, e.request()))
			e.done(key, g, claim.Completion{Fingerprint: fingerprintB})
			e.differs(claim.Done, key, e.request)
		},
	},
	{
		name: "no fingerprint matches all",
		why:  "fingerprints can be switched on while old records live: a record without one matches, and the next grant sets it",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.answers(claim.Pending, key, with(fingerprintB, e.request()))
			e.fine(e.release(key, g, 0))
			g = e.claim(key, with(fingerprintA, e.request()))
			e.answers(claim.Mismatch, key, with(fingerprintB, e.request()))
			e.fine(e.release(key, g, 0))
			g = e.claim(key, e.request())
			e.done(key, g, claim.Completion{})
			e.differs(claim.Done, key, e.request)

			key = e.key()
			e.done(key, e.claim(key, e.request()), claim.Completion{Fingerprint: fingerprintA})
			e.answers(claim.Done, key, with(fingerprintB, e.request()))
		},
	},
}
