package claimtest

import "github.com/oncebus/once/claim"

// situation is a row of package claim's table: a state that a record can be in,
// how to bring a key there, and how to see that it is still there.
type situation struct {
	name string
	// make brings a fresh key into the situation and returns the grant of its
	// owner; for an absent key one that the store has forgotten.
	make func(e *env, key claim.Key) claim.Grant
	// check fails the case unless the key is in the situation, with g as its
	// owner's last grant. It may end the situation.
	check func(e *env, key claim.Key, g claim.Grant)
}

const (
	keptResult = "kept result"
	deadReason = "cannot be parsed"
)

var absent = situation{
	name: "absent",
	make: func(e *env, _ claim.Key) claim.Grant {
		return claim.Grant{Token: e.token(), Fence: 1_000_000_007, Attempt: 1}
	},
	check: func(e *env, key claim.Key, _ claim.Grant) {
		e.Helper()
		e.claimAttempt(1, key, e.request())
	},
}

var pending = situation{
	name: "pending, lease alive",
	make: func(e *env, key claim.Key) claim.Grant { return e.claim(key, e.request()) },
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		v := e.answers(claim.Pending, key, e.request())
		e.within("the lease that remains", v.Remaining, e.units(long))
		again := e.request()
		again.Token = g.Token
		if got := e.claim(key, again); got != g {
			e.Fatalf("TryClaim repeated: grant %+v, want the same as before, %+v", got, g)
		}
	},
}

var over = situation{
	name: "pending, lease over",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.shortRequest())
		e.endLease()
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		if v := e.parks(key); v.Attempt != g.Attempt {
			e.Fatalf("TryClaim under Park: attempt %d, want %d", v.Attempt, g.Attempt)
		}
		e.fine(e.extend(key, g, e.units(long)))
	},
}

var released = situation{
	name: "released",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.release(key, g, 0))
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		again := e.request()
		again.Token = g.Token
		e.answers(claim.Stale, key, again)
		v := e.answers(claim.Claimed, key, e.request())
		if v.Takeover {
			e.Fatalf("TryClaim of a released key: said to be a takeover")
		}
		if v.Grant.Attempt != g.Attempt+1 || v.Grant.Fence <= g.Fence {
			e.Fatalf("TryClaim after a release: attempt %d with fence %d, want attempt %d and a fence over %d",
				v.Grant.Attempt, v.Grant.Fence, g.Attempt+1, g.Fence)
		}
	},
}

var delayed = situation{
	name: "released, delay not over",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.release(key, g, e.units(long)))
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		again := e.request()
		again.Token = g.Token
		e.answers(claim.Stale, key, again)
		v := e.answers(claim.Pending, key, e.request())
		e.within("the delay that remains", v.Remaining, e.units(long))
	},
}

var tombstone = situation{
	name: "released before the claim arrived",
	make: func(e *env, key claim.Key) claim.Grant {
		g := claim.Grant{Token: e.token()}
		e.fine(e.release(key, g, 0))
		return g
	},
	check: released.check,
}

var done = situation{
	name: "done",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.done(key, g, claim.Completion{Result: []byte(keptResult)})
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		e.sameResult(e.answers(claim.Done, key, e.request()), []byte(keptResult))
		recovered, err := e.complete(key, g, claim.Completion{})
		e.fine(err)
		if recovered {
			e.Fatalf("MarkDone repeated: recovered, although the first was not")
		}
	},
}

var bare = situation{
	name: "done, with nothing to keep",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.done(key, g, claim.Completion{})
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		e.sameResult(e.answers(claim.Done, key, e.request()), nil)
		e.done(key, g, claim.Completion{})
	},
}

var recovered = situation{
	name: "done by recovery",
	make: func(e *env, key claim.Key) claim.Grant {
		g := absent.make(e, key)
		if _, err := e.complete(key, g, claim.Completion{Result: []byte(keptResult)}); err != nil {
			e.Fatalf("%v", err)
		}
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		e.sameResult(e.answers(claim.Done, key, e.request()), []byte(keptResult))
		recovered, err := e.complete(key, g, claim.Completion{})
		e.fine(err)
		if !recovered {
			e.Fatalf("MarkDone repeated: not recovered, although the first was")
		}
	},
}

var dead = situation{
	name: "dead",
	make: func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.dead(key, g, deadReason))
		return g
	},
	check: func(e *env, key claim.Key, g claim.Grant) {
		e.Helper()
		v := e.answers(claim.Dead, key, e.request())
		if v.Reason != deadReason || v.Attempt != g.Attempt {
			e.Fatalf("TryClaim of a dead key: reason %q at attempt %d, want %q at %d", v.Reason, v.Attempt, deadReason, g.Attempt)
		}
	},
}
