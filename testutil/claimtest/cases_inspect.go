package claimtest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oncebus/once/claim"
)

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
}
