package claimtest

import "github.com/oncebus/once/claim"

var fenceCases = []testCase{
	{
		name: "fences rise",
		why:  "the fence strictly rises with every grant for a key: over releases, takeovers, lost records and finished ones",
		run: func(e *env) {
			key := e.key()
			var last uint64
			rises := func(g claim.Grant) claim.Grant {
				e.Helper()
				if g.Fence <= last {
					e.Fatalf("fence %d after %d", g.Fence, last)
				}
				last = g.Fence
				return g
			}
			for range 5 { // with no time between
				e.fine(e.release(key, rises(e.claim(key, e.request())), 0))
			}
			for range 2 {
				rises(e.claim(key, e.shortRequest()))
				e.endLease()
			}
			short := e.shortRequest()
			short.Retention = e.Unit
			rises(e.claim(key, short))
			e.Advance(e.units(3))
			e.done(key, rises(e.claimAttempt(1, key, e.request())), claim.Completion{Retention: e.Unit})
			e.endLease()
			g := rises(e.claimAttempt(1, key, short))
			e.fine(e.dead(key, g, deadReason))
			e.endLease()
			rises(e.claimAttempt(1, key, e.request()))
		},
	},
	{
		name: "fences are exact",
		why:  "a fence is shown again as it was granted: one that lost its last digits on the way is another one",
		run: func(e *env) {
			key := e.key()
			for range 10 {
				g := e.claim(key, e.request())
				for _, wrong := range []uint64{g.Fence - 1, g.Fence + 1} {
					e.lost(e.extend(key, claim.Grant{Token: g.Token, Fence: wrong, Attempt: g.Attempt}, e.Unit))
				}
				e.fine(e.extend(key, g, e.units(long)))
				e.fine(e.release(key, g, 0))
			}
		},
	},
}
