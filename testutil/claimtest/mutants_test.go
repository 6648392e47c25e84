package claimtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/claim"
)

// mutant is a store that is broken on purpose, and a case that must see it.
type mutant struct {
	name   string
	killer string
	open   func() *Harness
}

// stepMutant is a mutant that changes what claim.Step does.
func stepMutant(name, killer string, step stepFunc) mutant {
	return mutant{name, killer, func() *Harness { return newStepStore(step).harness() }}
}

// storeMutant is a mutant that changes what surrounds claim.Step.
func storeMutant(name, killer string, spoil func(s *stepStore)) mutant {
	return mutant{name, killer, func() *Harness {
		s := newStepStore(claim.Step)
		spoil(s)
		return s.harness()
	}}
}

// owns returns op with the token and fence of rec, as for a store that compares
// neither.
func owns(rec claim.Record, op *claim.Op) *claim.Op {
	forged := *op
	forged.Grant.Token, forged.Grant.Fence = rec.Token, rec.Fence
	return &forged
}

// as applies forged and copies its answer to op.
func as(rec claim.Record, op, forged *claim.Op, now claim.Instant) (claim.Record, bool) {
	next, write := claim.Step(rec, forged, now)
	op.Verdict, op.Recovered, op.Err = forged.Verdict, forged.Recovered, forged.Err
	return next, write
}

var mutants = []mutant{
	{"plain SET NX", "claim repeated", func() *Harness { return newSetNX().harness() }},

	stepMutant("claim without comparing the token", "claim repeated",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.Token == op.Request.Token {
				rec.Token = claim.NewToken()
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("release deletes", "release keeps history",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpRelease && write {
				return claim.Record{}, true
			}
			return next, write
		}),
	stepMutant("release deletes whatever is there", "release after a takeover",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpRelease {
				op.Err = nil
				return claim.Record{}, true
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("release without comparing token and fence", "release after a takeover",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpRelease && rec.State == claim.StatePending {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("release by token does not compare it", "release by token",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpRelease && op.Grant.Fence == 0 && rec.State == claim.StatePending {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("release of the absent is forgotten", "release before the claim",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpRelease && rec.State == claim.StateAbsent {
				return rec, false
			}
			return next, write
		}),
	stepMutant("release repeated starts the delay again", "release repeated",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpRelease && rec.State == claim.StateReleased {
				rec.State = claim.StatePending
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("completion without conditions", "commit after a takeover",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && rec.State != claim.StateAbsent {
				rec.State = claim.StatePending
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("completion compares the token alone", "MarkDone on pending, lease alive",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && rec.State == claim.StatePending && rec.Token == op.Grant.Token {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("completion compares the fence alone", "MarkDone on pending, lease alive",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && rec.State == claim.StatePending && rec.Fence == op.Grant.Fence {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("completion is refused after the lease", "late commit",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && rec.State == claim.StatePending && now >= rec.Deadline {
				op.Err = claim.ErrLost
				return rec, false
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("completion of the absent is refused", "recovered completion",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDone && rec.State == claim.StateAbsent {
				op.Recovered, op.Err = false, claim.ErrLost
				return rec, false
			}
			return next, write
		}),
	stepMutant("completion keeps the record's end", "done ends",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDone && write && rec.State == claim.StatePending {
				next.Expires = rec.Expires
			}
			return next, write
		}),
	stepMutant("completion drops the fingerprint", "mismatch after completion",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDone && write {
				next.Fingerprint = claim.Fingerprint{}
			}
			return next, write
		}),
	stepMutant("an oversized result fails the completion", "oversized results",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDone && len(op.Completion.Result) > claim.MaxResultBytes {
				op.Err = claim.ErrTooLarge
				return rec, false
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("a second completion overwrites the first", "the first completion stands",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDone && rec.State == claim.StateDone && op.Err == nil {
				rec.Result = op.Completion.Result
				return rec, true
			}
			return next, write
		}),
	stepMutant("recovery is reported once", "recovered completion",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			next.Recovered = false
			return next, write
		}),
	stepMutant("the fence is a counter of the record", "fences rise",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpTryClaim && write && op.Verdict.Outcome == claim.Claimed {
				next.Fence = 1
				if rec.State != claim.StateAbsent && now < rec.Expires {
					next.Fence = rec.Fence + 1
				}
				op.Verdict.Grant.Fence = next.Fence
			}
			return next, write
		}),
	stepMutant("the fence is the clock alone", "fences rise",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpTryClaim && write && op.Verdict.Outcome == claim.Claimed {
				next.Fence = uint64(now)
				op.Verdict.Grant.Fence = next.Fence
			}
			return next, write
		}),
	stepMutant("the fence is printed with 14 digits", "fences are exact",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpTryClaim && write && op.Verdict.Outcome == claim.Claimed {
				next.Fence = (next.Fence/100 + 1) * 100
				if rec.State != claim.StateAbsent {
					next.Fence = rec.Fence + 100
				}
				op.Verdict.Grant.Fence = next.Fence
			}
			// What is compared has lost its last digits.
			if op.Kind == claim.OpExtend && rec.Fence/100 == op.Grant.Fence/100 && rec.Token == op.Grant.Token {
				return as(rec, op, owns(rec, op), now)
			}
			return next, write
		}),
	stepMutant("takeover keeps the fence", "takeover",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Verdict.Takeover {
				next.Fence = rec.Fence
				op.Verdict.Grant.Fence = rec.Fence
			}
			return next, write
		}),
	stepMutant("takeover is not counted as an attempt", "attempts used up by crashes",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Verdict.Takeover {
				next.Attempt = rec.Attempt
				op.Verdict.Grant.Attempt = rec.Attempt
			}
			return next, write
		}),
	stepMutant("a token is granted again after its lease", "stale",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.State == claim.StatePending && now >= rec.Deadline {
				rec.Token = claim.Token{}
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("a token is granted again after its release", "release keeps history",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.State == claim.StateReleased {
				rec.Token = claim.Token{}
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("a repeated claim extends the lease", "claim repeated does not extend",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Verdict.Outcome == claim.Claimed && !write {
				next.Deadline = now.Add(op.Request.TTL)
				next.Expires = next.Deadline.Add(next.Retention)
				return next, true
			}
			return next, write
		}),
	stepMutant("Park is ignored", "park",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			op.Request.Takeover = claim.Rerun
			return claim.Step(rec, op, now)
		}),
	stepMutant("attempts are judged before the delay", "attempts used up, key not claimable",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.State == claim.StateReleased && op.Request.MaxAttempts > 0 && rec.Attempt >= op.Request.MaxAttempts {
				rec.Deadline = now
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("the limit allows one attempt more", "attempts used up by failures",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Request.MaxAttempts > 0 {
				op.Request.MaxAttempts++
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("attempts used up are not recorded", "retention of attempts used up",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpTryClaim && write && next.State == claim.StateDead {
				next.Expires = rec.Expires
			}
			return next, write
		}),
	stepMutant("heartbeat without the token", "extend after a takeover",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpExtend {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("heartbeat refused after the lease", "extend after the lease",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpExtend && now >= rec.Deadline {
				op.Err = claim.ErrLost
				return rec, false
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("heartbeat keeps the record's end", "extend moves the end of the record",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpExtend {
				next.Expires = rec.Expires
			}
			return next, write
		}),
	stepMutant("dead ends with the lease", "dead lasts for the retention of its claim",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDead && write {
				next.Expires = next.Deadline
			}
			return next, write
		}),
	stepMutant("dead never ends", "dead lasts for the retention of its claim",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDead && write {
				next.Expires = now.Add(claim.MaxRetention)
			}
			return next, write
		}),
	stepMutant("death of the absent is recorded", "death of the absent",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpMarkDead && rec.State == claim.StateAbsent {
				op.Err = nil
				return claim.Record{State: claim.StateDead, Key: op.Key, Expires: now.Add(claim.MaxRetention)}, true
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("reasons are kept whole", "reasons",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDead && write {
				next.Reason = op.Reason
			}
			return next, write
		}),
	stepMutant("fingerprints are not compared while pending", "mismatch while pending",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.State == claim.StatePending {
				forged := *op
				forged.Request.Fingerprint = claim.Fingerprint{}
				return as(rec, op, &forged, now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("no fingerprint is a fingerprint", "no fingerprint matches all",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpTryClaim && rec.State != claim.StateAbsent && rec.Fingerprint != op.Request.Fingerprint {
				op.Verdict = claim.Verdict{Outcome: claim.Mismatch}
				return rec, false
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("a claim without a fingerprint erases it", "no fingerprint matches all",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpTryClaim && write {
				next.Fingerprint = op.Request.Fingerprint
			}
			return next, write
		}),
	stepMutant("results are text", "results",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpMarkDone && next.Result != nil {
				next.Result = []byte(strings.ToValidUTF8(string(next.Result), "?"))
			}
			return next, write
		}),
	stepMutant("Forget without the fence", "forget with another fence",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpForget {
				return as(rec, op, owns(rec, op), now)
			}
			return claim.Step(rec, op, now)
		}),
	stepMutant("Revive keeps the attempts", "revive after too many attempts",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpRevive && write {
				next.Attempt = rec.Attempt
			}
			return next, write
		}),
	stepMutant("Revive forgets", "revive",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			next, write := claim.Step(rec, op, now)
			if op.Kind == claim.OpRevive && write {
				return claim.Record{}, true
			}
			return next, write
		}),
	stepMutant("Revive of a running key", "revive what must not be",
		func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
			if op.Kind == claim.OpRevive && rec.State == claim.StatePending {
				rec.Deadline = now
			}
			return claim.Step(rec, op, now)
		}),

	storeMutant("arguments are not checked", "invalid arguments of TryClaim", func(s *stepStore) { s.skipValidation = true }),
	storeMutant("the context is ignored", "context already cancelled", func(s *stepStore) { s.skipContext = true }),
	storeMutant("results are shared with the caller", "results belong to the store", func(s *stepStore) { s.skipClone = true }),
	storeMutant("a record ends with its lease", "a record outlives its lease", func(s *stepStore) { s.forgetAtLease = true }),
	storeMutant("errors are bare", "errors tell what failed and keep secrets", func(s *stepStore) { s.bareErrors = true }),
	storeMutant("errors tell ids", "errors tell what failed and keep secrets", func(s *stepStore) { s.leakingErrors = true }),
	storeMutant("an error comes with Claimed", "context already cancelled", func(s *stepStore) { s.answerWithError = true }),
	storeMutant("batches run backwards", "order on one key", func(s *stepStore) { s.reverseBatches = true }),
	storeMutant("a batch without an answer keeps the old one", "batch with a cancelled context", func(s *stepStore) { s.keepOldAnswers = true }),
}

// TestMutantsFail shows that the suite sees each mutant, and in the case that is
// there for it.
func TestMutantsFail(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			failures := Failures(t, func(testing.TB) *Harness { return m.open() })
			if len(failures) == 0 {
				t.Fatal("the suite passed it")
			}
			killed := slices.IndexFunc(failures, func(f Failure) bool {
				return strings.HasSuffix(f.Case, "/"+m.killer)
			})
			if killed < 0 {
				t.Fatalf("the case %q passed it; killed by %s", m.killer, names(failures))
			}
			t.Logf("killed by %d cases, among them %s: %s", len(failures), failures[killed].Case, failures[killed].Message)
		})
	}
}

// names lists the first of the cases that failed.
func names(failures []Failure) string {
	var b strings.Builder
	for i, f := range failures {
		if i == 10 {
			return b.String() + fmt.Sprintf(" and %d more", len(failures)-i)
		}
		fmt.Fprintf(&b, "%q ", f.Case)
	}
	return b.String()
}
