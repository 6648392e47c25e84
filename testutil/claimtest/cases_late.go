package claimtest

import (
	"fmt"

	"github.com/oncebus/once/claim"
)

// successor is what became of a key after its first owner was superseded.
type successor struct {
	name string
	// make continues a key whose first owner's lease is over or given back, and
	// returns the current grant.
	make func(e *env, key claim.Key) claim.Grant
	then situation
	// claim is the answer to a late copy of the first owner's claim.
	claim claim.Outcome
}

var successors = []successor{
	{"claimed by another", func(e *env, key claim.Key) claim.Grant {
		return e.claim(key, e.request())
	}, pending, claim.Pending},
	{"claimed by another, whose lease is over", func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.shortRequest())
		e.endLease()
		return g
	}, over, 0},
	{"released by another", func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.release(key, g, 0))
		return g
	}, released, 0},
	{"released by another, with a delay", func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.release(key, g, e.units(long)))
		return g
	}, delayed, claim.Pending},
	{"done by another", func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.done(key, g, claim.Completion{Result: []byte(keptResult)})
		return g
	}, done, claim.Done},
	{"dead by another", func(e *env, key claim.Key) claim.Grant {
		g := e.claim(key, e.request())
		e.fine(e.dead(key, g, deadReason))
		return g
	}, dead, claim.Dead},
}

// endings are the ways in which the first owner loses its claim.
var endings = []struct {
	name string
	make func(e *env, key claim.Key) claim.Grant
}{
	{"lease over", over.make},
	{"released", released.make},
}

// lateCases sends late copies of everything that a first owner may have sent,
// after another owner has moved the key on. All must change nothing.
func lateCases() []testCase {
	var cases []testCase
	for _, ending := range endings {
		for _, s := range successors {
			cases = append(cases, testCase{
				name: fmt.Sprintf("late copies, %s, then %s", ending.name, s.name),
				why:  "rule 3: an operation whose token and fence are not current changes nothing, however late it lands",
				run: func(e *env) {
					for _, late := range lateOps(s.claim) {
						key := e.key()
						old := ending.make(e, key)
						current := s.make(e, key)
						e.unchanged(key, func() { late(e, key, old) })
						s.then.check(e, key, current)
					}
				},
			})
		}
	}
	return cases
}

// lateOps returns what an owner sends, as checks that it is refused. The claim
// itself is left out where the key is claimable: a late copy is then a claim
// like any other.
func lateOps(outcome claim.Outcome) []func(e *env, key claim.Key, g claim.Grant) {
	ops := []func(e *env, key claim.Key, g claim.Grant){
		func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			e.lost(e.extend(key, g, e.units(2*long)))
		},
		func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			_, err := e.complete(key, g, claim.Completion{Result: []byte("late")})
			e.lost(err)
		},
		func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			e.lost(e.dead(key, g, "late"))
		},
		func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			e.lost(e.release(key, g, 0))
		},
		func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			g.Fence, g.Attempt = 0, 0
			e.lost(e.release(key, g, 0))
		},
	}
	if outcome != 0 {
		ops = append(ops, func(e *env, key claim.Key, g claim.Grant) {
			e.Helper()
			req := e.request()
			req.Token = g.Token
			e.answers(outcome, key, req)
		})
	}
	return ops
}
