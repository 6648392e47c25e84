package sequences

import (
	"flag"
	"strings"
	"testing"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

// forged carries out op as if it showed the token and the fence of the record.
func forged(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	grant := op.Grant
	op.Grant.Token, op.Grant.Fence = rec.Token, rec.Fence
	defer func() { op.Grant = grant }()
	return claim.Step(rec, op, now)
}

// mutants are stores with one mistake each, that somebody could make.
var mutants = []struct {
	name string
	// hidden says that it takes an Inspector to find it in a few sequences.
	hidden bool
	step   stepFunc
}{
	{"claim without comparing the token", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpTryClaim {
			rec.Token = claim.Token{1}
		}
		return claim.Step(rec, op, now)
	}},
	{"release deletes", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpRelease && write {
			next = claim.Record{}
		}
		return next, write
	}},
	{"release without a fence compares no token", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpRelease && op.Grant.Fence == 0 && rec.State == claim.StatePending && now < rec.Expires {
			return forged(rec, op, now)
		}
		return claim.Step(rec, op, now)
	}},
	{"release repeated starts its delay again", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpRelease && rec.State == claim.StateReleased {
			rec.State = claim.StatePending
		}
		return claim.Step(rec, op, now)
	}},
	{"release of an absent key leaves nothing", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpRelease && (rec.State == claim.StateAbsent || now >= rec.Expires) {
			write = false
		}
		return next, write
	}},
	{"fingerprint dropped at done", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpMarkDone && write {
			next.Fingerprint = claim.Fingerprint{}
		}
		return next, write
	}},
	{"fingerprint not compared when dead", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpTryClaim && rec.State == claim.StateDead {
			rec.Fingerprint = claim.Fingerprint{}
		}
		return claim.Step(rec, op, now)
	}},
	{"fence counts from one", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Verdict.Outcome == claim.Claimed && write {
			next.Fence = 1
			if rec.State != claim.StateAbsent && now < rec.Expires {
				next.Fence = rec.Fence + 1
			}
			op.Verdict.Grant.Fence = next.Fence
		}
		return next, write
	}},
	{"takeover keeps the fence", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Verdict.Takeover {
			next.Fence, op.Verdict.Grant.Fence = rec.Fence, rec.Fence
		}
		return next, write
	}},
	{"completion without conditions", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpMarkDone && rec.State != claim.StateAbsent && now < rec.Expires {
			rec.State = claim.StatePending
			return forged(rec, op, now)
		}
		return claim.Step(rec, op, now)
	}},
	{"late commit refused", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpMarkDone && rec.State == claim.StatePending && now >= rec.Deadline {
			rec.Token = claim.Token{1}
		}
		return claim.Step(rec, op, now)
	}},
	{"recovery is told once", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		op.Recovered = op.Recovered && write
		return next, write
	}},
	{"heartbeat by anybody", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		if op.Kind == claim.OpExtend {
			return forged(rec, op, now)
		}
		return claim.Step(rec, op, now)
	}},
	{"heartbeat does not lengthen the record", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		expires := rec.Expires
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpExtend && write {
			next.Expires = expires
		}
		return next, write
	}},
	{"lease judged a moment late", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		rec.Deadline++
		next, write := claim.Step(rec, op, now)
		if !write {
			next.Deadline--
		}
		return next, write
	}},
	{"one attempt too many", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		most := op.Request.MaxAttempts
		defer func() { op.Request.MaxAttempts = most }()
		if most > 0 {
			op.Request.MaxAttempts++
		}
		return claim.Step(rec, op, now)
	}},
	{"revival keeps the attempts", true, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpRevive && write {
			next.Attempt = rec.Attempt
		}
		return next, write
	}},
	{"record kept for ever", false, func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		rec.Expires = rec.Expires.Add(claim.MaxRetention)
		next, write := claim.Step(rec, op, now)
		if !write {
			next.Expires = next.Expires.Add(-claim.MaxRetention)
		}
		return next, write
	}},
}

// Every mutant is found on a store that shows its records.
func TestMutantsAreFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			found(t, onFakeClock(m.step))
		})
	}
	t.Run("batch in reverse", func(t *testing.T) {
		t.Parallel()
		h := onFakeClock(claim.Step)
		h.Store.(*stepStore).reversed = true
		found(t, h)
	})
	t.Run("one record for all keys", func(t *testing.T) {
		t.Parallel()
		h := onFakeClock(claim.Step)
		h.Store.(*stepStore).shared = true
		found(t, h)
	})
}

// Most are found by a client of the store too, who sees no records.
func TestMutantsAreFoundByAnswers(t *testing.T) {
	for _, m := range mutants {
		if m.hidden {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			h := onFakeClock(m.step)
			h.Store = struct {
				claim.Store
				claim.Batcher
			}{h.Store, h.Store.(*stepStore)}
			found(t, h)
		})
	}
}

// What is found is made short.
func TestFailuresAreShort(t *testing.T) {
	patience := flag.Lookup("rapid.shrinktime").Value
	before := patience.String()
	defer func() { _ = patience.Set(before) }()
	if err := patience.Set("1m"); err != nil {
		t.Fatal(err)
	}
	h := onFakeClock(claim.Step)
	h.Store.(*stepStore).step = func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
		next, write := claim.Step(rec, op, now)
		if op.Kind == claim.OpMarkDead && write {
			next.Attempt++
		}
		return next, write
	}
	const longest = 6 // a claim and its end would do
	if text := found(t, h); strings.Count(text, "\n") > longest {
		t.Errorf("the failure was not made shorter than %d steps", strings.Count(text, "\n"))
	}
}

// found fails the test unless random sequences fail on h, and returns the
// failure.
func found(t *testing.T, h *claimtest.Harness) (text string) {
	t.Helper()
	g, err := newPlayground(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 20 // of 100 sequences
	for range rounds {
		message := failureOf(func(r *recorder) { g.check(r) })
		if message == "" {
			continue
		}
		_, text, _ := strings.Cut(message, "failed after ")
		text, _, _ = strings.Cut(text, "\n\n")
		t.Logf("found after %s", text)
		return text
	}
	t.Fatalf("not found by %d sequences of %d operations", g.sequences, g.operations)
	return ""
}
