package claimtest

import "github.com/oncebus/once/claim"

var extendCases = []testCase{
	{
		name: "extend keeps the claim",
		why:  "the lease ends at the time of the extension plus its ttl, longer or shorter than before",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.fine(e.extend(key, g, e.units(long)))
			e.endLease()
			v := e.answers(claim.Pending, key, e.request())
			e.within("the lease that remains", v.Remaining, e.units(long))
			if v.Remaining <= e.units(long)/2 {
				e.Fatalf("%v of the lease remain, want nearly %v", v.Remaining, e.units(long))
			}
			e.fine(e.extend(key, g, e.Unit))
			e.endLease()
			e.parks(key)
		},
	},
	{
		name: "extend keeps the grant",
		why:  "an extension is no grant: fence and attempt stay",
		run: func(e *env) {
			key, req := e.key(), e.request()
			g := e.claim(key, req)
			for range 3 {
				e.fine(e.extend(key, g, e.units(long)))
			}
			if again := e.claim(key, req); again != g {
				e.Fatalf("grant %+v after the extension, want %+v", again, g)
			}
		},
	},
	{
		name: "extend after the lease",
		why:  "an owner that was slow, and that nobody replaced, goes on with its claim",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			g := e.claim(key, req)
			e.endLease()
			e.fine(e.extend(key, g, e.units(long)))
			e.answers(claim.Pending, key, e.request())
			e.done(key, g, claim.Completion{})
		},
	},
	{
		name: "extend after a takeover",
		why:  "a heartbeat without the current token and fence must not keep another's claim alive",
		run: func(e *env) {
			key := e.key()
			old := e.claim(key, e.shortRequest())
			e.endLease()
			g := e.claim(key, e.shortRequest())
			e.lost(e.extend(key, old, e.units(long)))
			e.endLease()
			e.parks(key)
			e.fine(e.extend(key, g, e.units(long)))
		},
	},
	{
		name: "extend moves the end of the record",
		why:  "a record outlives its lease by the retention, and the lease moves",
		run: func(e *env) {
			key, req := e.key(), e.request()
			req.TTL, req.Retention = e.Unit, e.units(2)
			g := e.claim(key, req)
			e.fine(e.extend(key, g, e.units(long)))
			e.Advance(e.units(4))
			e.answers(claim.Pending, key, e.request())
		},
	},
}
