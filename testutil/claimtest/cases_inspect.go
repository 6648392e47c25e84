package claimtest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oncebus/once/claim"
)

// parked is a key whose owner vanished under Park.
var parked = situation{name: "parked", make: over.make, check: over.check}

// list pages through the whole store and returns how often each digest came.
func (e *env) list(filter claim.Filter, limit int, between func()) map[claim.Digest]int {
	e.Helper()
	seen := map[claim.Digest]int{}
	cursor := ""
	for pages := 0; ; pages++ {
		if pages > 100_000 {
			e.Fatalf("List: no end after %d pages", pages)
		}
		page, next, err := e.Store.(claim.Inspector).List(e.ctx, filter, cursor, limit)
		if err != nil {
			e.Fatalf("List: %v", err)
		}
		for _, entry := range page {
			if entry.State == claim.StateAbsent || !filter.Match(&entry.Record) {
				e.Fatalf("List with %+v: got a record that is %v, of %v", filter, entry.State, entry.Key)
			}
			if entry.State != claim.StateDone && entry.Key.Digest() != entry.Digest {
				e.Fatalf("List: the digest of a record that is %v is not its key's", entry.State)
			}
			seen[entry.Digest]++
		}
		if next == "" {
			return seen
		}
		cursor = next
		if between != nil {
			between()
		}
	}
}

// population claims n keys for each situation and returns them by state.
func (e *env) population(n int, namespace, consumer string) map[claim.State][]claim.Key {
	e.Helper()
	keys := map[claim.State][]claim.Key{}
	for i := range n {
		for state, s := range map[claim.State]situation{claim.StatePending: pending, claim.StateReleased: released,
			claim.StateDone: done, claim.StateDead: dead} {
			key := e.keyOf(namespace, consumer, fmt.Sprintf("%v-%d", state, i))
			s.make(e, key)
			keys[state] = append(keys[state], key)
		}
	}
	return keys
}

// sameKeys fails the case unless a listing holds exactly the keys.
func (e *env) sameKeys(what string, seen map[claim.Digest]int, keys ...[]claim.Key) {
	e.Helper()
	want := map[claim.Digest]bool{}
	for _, key := range slices.Concat(keys...) {
		want[key.Digest()] = true
		if seen[key.Digest()] == 0 {
			e.Fatalf("List of %s: %v is missing", what, key)
		}
	}
	for d := range maps.Keys(seen) {
		if !want[d] {
			e.Fatalf("List of %s: %v is not one of them", what, d)
		}
	}
}

var inspectCases = []testCase{
	{
		name: "get", inspector: true,
		why: "Get returns the record of each state, and Absent for none, judged by the store's clock",
		run: func(e *env) {
			for state, s := range map[claim.State]situation{claim.StatePending: pending, claim.StateReleased: delayed,
				claim.StateDone: done, claim.StateDead: dead} {
				key := e.key()
				g := s.make(e, key)
				entry, _ := e.get(key)
				if entry.State != state || entry.Digest != key.Digest() || entry.Fence != g.Fence {
					e.Fatalf("Get of a record that is %s: %v with fence %d, want %v with %d", s.name, entry.State, entry.Fence, state, g.Fence)
				}
				if entry.Now <= 0 || entry.Expires <= entry.Now {
					e.Fatalf("Get of a record that is %s: expires at %d, now %d", s.name, entry.Expires, entry.Now)
				}
				if state == claim.StateDone {
					if string(entry.Result) != keptResult || entry.Recovered {
						e.Fatalf("Get of a done record: result %q, recovered %v", entry.Result, entry.Recovered)
					}
					continue
				}
				if entry.Key != key || entry.Attempt != g.Attempt {
					e.Fatalf("Get of a record that is %s: key %v at attempt %d, want %v at %d", s.name, entry.Key, entry.Attempt, key, g.Attempt)
				}
				if state == claim.StateDead && entry.Reason != deadReason {
					e.Fatalf("Get of a dead record: reason %q, want %q", entry.Reason, deadReason)
				}
				if state != claim.StateDead {
					e.within("the time to the deadline", entry.Deadline.Sub(entry.Now), e.units(long))
				}
			}
			if entry, _ := e.get(e.key()); entry.State != claim.StateAbsent {
				e.Fatalf("Get of a key that nobody claimed: %v", entry.State)
			}
		},
	},
	{
		name: "get what time changed", inspector: true,
		why: "a pending record whose lease is over is still pending, and one whose retention is over is absent",
		run: func(e *env) {
			key := e.key()
			over.make(e, key)
			if entry, _ := e.get(key); entry.State != claim.StatePending || entry.Deadline > entry.Now {
				e.Fatalf("Get after the lease: %v with %v to the deadline, want pending and none", entry.State, entry.Deadline.Sub(entry.Now))
			}
			key = e.key()
			e.done(key, e.claim(key, e.request()), claim.Completion{Retention: e.Unit})
			e.endLease()
			if entry, _ := e.get(key); entry.State != claim.StateAbsent {
				e.Fatalf("Get after the retention: %v, want absent", entry.State)
			}
			key = e.key()
			recovered.make(e, key)
			if entry, _ := e.get(key); entry.State != claim.StateDone || !entry.Recovered {
				e.Fatalf("Get of a recovered completion: %v, recovered %v", entry.State, entry.Recovered)
			}
		},
	},
	{
		name: "list", inspector: true,
		why: "List pages through every record that matches and through no other, whatever the size of a page",
		run: func(e *env) {
			a := e.population(5, "a", "one")
			b := e.population(5, "b", "one")
			c := e.population(5, "a", "two")
			gone := e.key()
			e.done(gone, e.claim(gone, e.request()), claim.Completion{Retention: e.Unit})
			e.endLease()
			states := []claim.State{claim.StatePending, claim.StateReleased, claim.StateDone, claim.StateDead}
			all := func(of ...map[claim.State][]claim.Key) (keys []claim.Key) {
				for _, m := range of {
					for _, state := range states {
						keys = append(keys, m[state]...)
					}
				}
				return keys
			}
			for _, limit := range []int{1, 7, 1000} {
				e.sameKeys("everything", e.list(claim.Filter{}, limit, nil), all(a, b, c))
			}
			for _, state := range states {
				e.sameKeys(state.String(), e.list(claim.Filter{State: state}, 5, nil), a[state], b[state], c[state])
			}
			// Done records keep no key and match no name.
			for _, m := range []map[claim.State][]claim.Key{a, b, c} {
				delete(m, claim.StateDone)
			}
			e.sameKeys("a namespace", e.list(claim.Filter{Namespace: "a"}, 5, nil), all(a, c))
			e.sameKeys("a consumer", e.list(claim.Filter{Consumer: "one"}, 5, nil), all(a, b))
			e.sameKeys("one of both in one state",
				e.list(claim.Filter{Namespace: "a", Consumer: "one", State: claim.StateDead}, 5, nil), a[claim.StateDead])
			e.sameKeys("nothing", e.list(claim.Filter{Consumer: "nobody"}, 5, nil))
		},
	},
	{
		name: "list an empty store", inspector: true,
		why: "an empty store is one empty listing",
		run: func(e *env) {
			e.sameKeys("everything", e.list(claim.Filter{}, 10, nil))
		},
	},
	{
		name: "list while it changes", inspector: true,
		why: "records that exist throughout a listing are in it, whatever comes and goes meanwhile",
		run: func(e *env) {
			stay := e.population(10, "stay", "consumer")
			var passing []claim.Key
			for range 20 {
				key := e.key()
				pending.make(e, key)
				passing = append(passing, key)
			}
			seen := e.list(claim.Filter{Namespace: "stay"}, 3, func() {
				if len(passing) > 0 {
					e.fine(e.forget(passing[0]))
					passing = passing[1:]
				}
				if e.keys < 200 {
					pending.make(e, e.key())
				}
			})
			e.sameKeys("those that stay", seen, stay[claim.StatePending], stay[claim.StateReleased], stay[claim.StateDead])
		},
	},
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
