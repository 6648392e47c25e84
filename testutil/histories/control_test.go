package histories_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
	"github.com/oncebus/once/testutil/histories"
)

// steady has leases that never end, and brief also has little for each key, since
// some mistakes take the checker long to be sure of; hasty has leases that end
// all the time.
func steady(seed uint64) histories.Workload { return histories.Workload{Seed: seed} }

func brief(seed uint64) histories.Workload { return histories.Workload{Seed: seed, PerKey: 25} }

func hasty(seed uint64) histories.Workload {
	return histories.Workload{Seed: seed, Operations: 300, Lease: 12 * time.Millisecond, Pause: 5 * time.Millisecond}
}

// record has six clients do the workload on one store.
func record(w histories.Workload, store claim.Store) *histories.History {
	traffic, r := w.Start(), histories.NewRecorder()
	clients := make([]histories.Client, 6)
	for i := range clients {
		clients[i].Store = store
	}
	r.Run(nil, traffic.Drive(clients...)...)
	r.Run(nil, traffic.Probe(clients[0]))
	return r.History()
}

// broken are stores with one mistake each, that a real store could have, and a
// workload that must show it.
var broken = []struct {
	name     string
	workload func(seed uint64) histories.Workload
	open     func() claim.Store
}{
	{"plain SET NX", steady, func() claim.Store { return setNX() }},
	{"plain SET NX that loses replies", steady, func() claim.Store {
		fs := faultstore.New(setNX())
		fs.On(claim.OpTryClaim, faultstore.LoseReply, 20)
		return fs
	}},
	{"claim without comparing the token, and replies are lost", steady, func() claim.Store {
		fs := faultstore.New(stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim {
				rec.Token = claim.Token{1}
			}
			return claim.Step(rec, op, now)
		}))
		fs.On(claim.OpTryClaim, faultstore.LoseReply, 20)
		return fs
	}},
	{"claim that says not done, and is", steady, func() claim.Store { return lying(claim.OpTryClaim) }},
	{"completion that says not done, and is", steady, func() claim.Store { return lying(claim.OpMarkDone) }},
	{"release that says not done, and is", steady, func() claim.Store { return lying(claim.OpRelease) }},
	{"extension that says not done, and is", hasty, func() claim.Store { return lying(claim.OpExtend) }},
	{"confirmed writes are lost", steady, func() claim.Store { return forgetful() }},
	{"reads from a replica", brief, func() claim.Store { return stale() }},
	{"not atomic", brief, func() claim.Store { return torn() }},
	{"extension that is not atomic", brief, func() claim.Store { return tornAt(claim.OpExtend) }},
	{"completion that is not atomic", brief, func() claim.Store { return tornAt(claim.OpMarkDone) }},
	{"release that is not atomic", brief, func() claim.Store { return tornAt(claim.OpRelease) }},
	{"completion without conditions", hasty, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && rec.State != claim.StateAbsent {
				rec.State = claim.StatePending
				return forged(rec, op, now)
			}
			return claim.Step(rec, op, now)
		})
	}},
	{"heartbeat by anybody", hasty, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpExtend {
				return forged(rec, op, now)
			}
			return claim.Step(rec, op, now)
		})
	}},
	{"release deletes", steady, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpRelease && write {
				next = claim.Record{}
			}
			return next, write
		})
	}},
	{"takeover keeps the fence", hasty, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Verdict.Takeover {
				next.Fence, op.Verdict.Grant.Fence = rec.Fence, rec.Fence
			}
			return next, write
		})
	}},
	{"leases end early", hasty, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			rec.Deadline -= 4000
			return claim.Step(rec, op, now)
		})
	}},
	{"leases end late", hasty, func() claim.Store {
		return stepped(func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if rec.State == claim.StatePending {
				rec.Deadline += 8000
			}
			next, write := claim.Step(rec, op, now)
			if op.Verdict.Outcome == claim.Pending {
				op.Verdict.Remaining = max(time.Microsecond, op.Verdict.Remaining-8*time.Millisecond)
			}
			return next, write
		})
	}},
}

// Every broken store is found.
func TestBrokenStoresAreFound(t *testing.T) {
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			const seeds = 30
			for seed := range uint64(seeds) {
				h := record(b.workload(seed), b.open())
				for _, v := range histories.Verify(h).Violations {
					t.Logf("found by history %d, of %d operations\n%v", seed+1, len(h.Operations), v)
					return
				}
			}
			t.Fatalf("not found in %d histories", seeds)
		})
	}
}

// The store that they are made of is not.
func TestStepIsFine(t *testing.T) {
	for seed := range uint64(4) {
		histories.Check(t, record(steady(seed), stepped(claim.Step)))
		histories.Check(t, record(hasty(seed), stepped(claim.Step)))
	}
}
