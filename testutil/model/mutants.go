package model

import "github.com/oncebus/once/claim"

// Mutant is the protocol with one mistake in it. A search that does not find the
// mistake could not be trusted when it finds none in the protocol.
type Mutant struct {
	// Name says what is wrong.
	Name string
	// Breaks is the invariant that a shortest trace shows broken.
	Breaks Invariant
	// Needs are the faults without which the mistake does not show. The network
	// is not one of them: it is always at its worst.
	Needs Faults
	// Takeover and MaxAttempts are what claims have to ask for.
	Takeover    claim.Takeover
	MaxAttempts int

	step stepFunc // instead of claim.Step
	mistakes
}

// mistakes are those of a worker.
type mistakes struct {
	acksAnyway     bool
	startsOnError  bool
	completesFirst bool
	releasesEarly  bool
}

// Config returns a small space in which the mistake is found.
func (m Mutant) Config() Config {
	return Config{Without: allFaults &^ m.Needs, Takeover: m.Takeover, MaxAttempts: m.MaxAttempts, Mutant: &m}
}

// Mutants returns all mutants. The first eight are what people write who have
// not thought of leases that run out and answers that are lost; the others are
// there so that each invariant is broken by one of them at least.
func Mutants() []Mutant {
	return []Mutant{
		{Name: "claim without token comparison", Breaks: I8, step: claimComparesNothing},
		{Name: "release by delete", Breaks: I8, step: releaseDeletes},
		{Name: "unconditional delete", Breaks: I4, step: releaseDeletesAnything},
		{Name: "unconditional completion", Needs: Expiry, Breaks: I4, step: completionOfAnything},
		{Name: "fence as a plain counter", Needs: Loss, Breaks: I2, step: fenceCounts},
		{Name: "ack whatever happens", Breaks: I5, mistakes: mistakes{acksAnyway: true}},
		{Name: "heartbeat without token check", Breaks: I4, step: extendsAnything},
		{Name: "takeover that keeps the fence", Needs: Expiry, Breaks: I2, step: takeoverKeepsFence},

		{Name: "claim that ignores the lease", Breaks: I1, step: claimIgnoresLease},
		{Name: "fence from the clock alone", Breaks: I2, step: fenceIsTime},
		{Name: "done that ends with the lease", Breaks: I3, step: doneIsForgotten},
		{Name: "late commit accepted after a takeover", Needs: Expiry, Breaks: I4, step: staleCommit},
		{Name: "completion before the handler", Breaks: I6, mistakes: mistakes{completesFirst: true}},
		{Name: "expired lease that still blocks", Breaks: I7, step: leaseForEver},
		{Name: "release without a tombstone", Breaks: I8, step: releaseOfNothing},
		{Name: "release before the handler returns", Breaks: I11, mistakes: mistakes{releasesEarly: true}},
		{Name: "error that starts the handler", Breaks: I12, mistakes: mistakes{startsOnError: true}},
		{Name: "park that grants", Needs: Expiry, Breaks: Park, Takeover: claim.Park, step: parkGrants},
		{Name: "release that forgets the attempts", Breaks: Max, MaxAttempts: 1, step: releaseForgets},
	}
}

// stranger is a token that nobody has.
var stranger = claim.Token{0xff}

// claimComparesNothing is SET NX: one's own claim looks like another's.
func claimComparesNothing(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpTryClaim && rec.Token == op.Request.Token {
		rec.Token = stranger
	}
	return claim.Step(rec, op, now)
}

// releaseDeletes compares the token and then deletes: the record cannot tell any
// more that the token was released.
func releaseDeletes(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	next, write := claim.Step(rec, op, now)
	if op.Kind == claim.OpRelease && write && rec.State == claim.StatePending {
		return claim.Record{}, true
	}
	return next, write
}

// releaseDeletesAnything is DEL: whoever gives a key back takes it from anybody.
func releaseDeletesAnything(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	held := rec.State != claim.StateAbsent && rec.State != claim.StateReleased
	if op.Kind == claim.OpRelease && held {
		return claim.Record{}, true
	}
	return claim.Step(rec, op, now)
}

// completionOfAnything is SET.
func completionOfAnything(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpMarkDone && rec.State != claim.StateAbsent {
		return claim.Step(held(rec, op), op, now)
	}
	return claim.Step(rec, op, now)
}

// held returns rec as if it were pending under the grant of op.
func held(rec claim.Record, op *claim.Op) claim.Record {
	rec.State, rec.Token, rec.Fence = claim.StatePending, op.Grant.Token, op.Grant.Fence
	rec.Expires = 1 << 62
	return rec
}

// fenceCounts is a counter in the record: it starts anew when the record is lost.
func fenceCounts(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	return withFence(rec.Fence+1, rec, op, now)
}

// fenceIsTime repeats a fence within the clock's resolution.
func fenceIsTime(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	return withFence(uint64(now), rec, op, now)
}

// takeoverKeepsFence changes the owner and nothing else.
func takeoverKeepsFence(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if rec.State == claim.StatePending {
		return withFence(rec.Fence, rec, op, now)
	}
	return claim.Step(rec, op, now)
}

// withFence is claim.Step with another fence for what it grants.
func withFence(fence uint64, rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	next, write := claim.Step(rec, op, now)
	if write && op.Verdict.Outcome == claim.Claimed {
		next.Fence, op.Verdict.Grant.Fence = fence, fence
	}
	return next, write
}

// extendsAnything is PEXPIRE.
func extendsAnything(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind != claim.OpExtend {
		return claim.Step(rec, op, now)
	}
	forged := *op
	forged.Grant.Token, forged.Grant.Fence = rec.Token, rec.Fence
	next, write := claim.Step(rec, &forged, now)
	op.Err = forged.Err
	return next, write
}

// claimIgnoresLease takes over from the living.
func claimIgnoresLease(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpTryClaim && rec.Token != op.Request.Token {
		rec.Deadline = now
	}
	return claim.Step(rec, op, now)
}

// doneIsForgotten has one duration for the lease and for the memory of done keys,
// and it is over.
func doneIsForgotten(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpTryClaim && rec.State == claim.StateDone {
		rec = claim.Record{}
	}
	return claim.Step(rec, op, now)
}

// staleCommit accepts the completion of an owner that was superseded.
func staleCommit(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpMarkDone && rec.State == claim.StatePending && op.Grant.Fence < rec.Fence {
		return claim.Step(held(rec, op), op, now)
	}
	return claim.Step(rec, op, now)
}

// leaseForEver waits for an owner that will not come back.
func leaseForEver(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpTryClaim && rec.State == claim.StatePending {
		rec.Deadline = max(rec.Deadline, now+1)
	}
	return claim.Step(rec, op, now)
}

// releaseOfNothing finds no record, writes none, and says that all is well.
func releaseOfNothing(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	if op.Kind == claim.OpRelease && rec.State == claim.StateAbsent {
		return rec, false
	}
	return claim.Step(rec, op, now)
}

// parkGrants does not look at the policy.
func parkGrants(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	op.Request.Takeover = claim.Rerun
	return claim.Step(rec, op, now)
}

// releaseForgets gives every claimant a first attempt.
func releaseForgets(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	next, write := claim.Step(rec, op, now)
	if op.Kind == claim.OpRelease {
		next.Attempt = 0
	}
	return next, write
}
