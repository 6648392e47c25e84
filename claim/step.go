package claim

import "strconv"

// Step applies op to the record of its key at the store's time now. It sets the
// answer in op, with bare sentinels as errors, and returns the record to write
// and whether it has to be written; an absent record to write means delete.
// Step does no I/O and reads no clock. The caller has validated op and makes
// reading rec, Step and writing one atomic step. rec may be past its Expires. A
// store that remembers the fence of a record that is gone may pass it in an
// otherwise zero rec: the next grant is above it.
//
// Results are not copied: a store that keeps the returned record must own the
// bytes of op.Completion.Result.
func Step(rec Record, op *Op, now Instant) (next Record, write bool) {
	op.Verdict, op.Recovered, op.Err = Verdict{}, false, nil
	if rec.State != StateAbsent && now >= rec.Expires {
		rec = Record{}
	}
	write = step(&rec, op, now)
	return rec, write
}

// step is Step in place: records are large enough for copies of them to be seen
// in a profile. Where it reports false it has left rec alone.
func step(rec *Record, op *Op, now Instant) (write bool) {
	switch op.Kind {
	case OpTryClaim:
		return stepTryClaim(rec, op, now)
	case OpExtend:
		return stepExtend(rec, op, now)
	case OpMarkDone:
		return stepMarkDone(rec, op, now)
	case OpMarkDead:
		return stepMarkDead(rec, op, now)
	case OpRelease:
		return stepRelease(rec, op, now)
	case OpForget:
		return stepForget(rec, op)
	case OpRevive:
		return stepRevive(rec, op, now)
	}
	op.Err = op.Validate()
	return false
}

func stepTryClaim(rec *Record, op *Op, now Instant) (write bool) {
	req, v := &op.Request, &op.Verdict
	if rec.Fingerprint.Differs(req.Fingerprint) {
		v.Outcome = Mismatch
		return false
	}
	mine := rec.Token == req.Token
	switch rec.State {
	case StateDone:
		*v = Verdict{Outcome: Done, Result: rec.Result, Omitted: rec.Omitted,
			Remaining: rec.Expires.Sub(now)}
		return false
	case StateDead:
		*v = Verdict{Outcome: Dead, Attempt: rec.Attempt, Reason: rec.Reason}
		return false
	case StatePending:
		if now < rec.Deadline {
			if !mine {
				*v = Verdict{Outcome: Pending, Remaining: rec.Deadline.Sub(now)}
				return false
			}
			// The first reply was lost; the takeover flag went with it.
			*v = Verdict{Outcome: Claimed, Grant: rec.grant(), Remaining: rec.Deadline.Sub(now)}
			return false
		}
		if mine {
			v.Outcome = Stale
			return false
		}
		if req.Takeover == Park {
			*v = Verdict{Outcome: Parked, Attempt: rec.Attempt}
			return false
		}
	case StateReleased:
		if mine {
			v.Outcome = Stale
			return false
		}
		if now < rec.Deadline {
			*v = Verdict{Outcome: Pending, Remaining: rec.Deadline.Sub(now)}
			return false
		}
	}
	if req.MaxAttempts > 0 && rec.Attempt >= req.MaxAttempts {
		rec.State = StateDead
		rec.Key = op.Key
		rec.Reason = AttemptsExhausted(rec.Attempt)
		rec.Retention = req.Retention
		rec.Expires = now.Add(req.Retention)
		*v = Verdict{Outcome: Dead, Attempt: rec.Attempt, Reason: rec.Reason}
		return true
	}
	grantClaim(rec, op, now)
	return true
}

func grantClaim(rec *Record, op *Op, now Instant) {
	req := &op.Request
	next := Record{
		State:       StatePending,
		Key:         op.Key,
		Token:       req.Token,
		Fence:       max(rec.Fence+1, now.fence()),
		Attempt:     rec.Attempt + 1,
		Deadline:    now.Add(req.TTL),
		Retention:   req.Retention,
		Fingerprint: req.Fingerprint,
	}
	if next.Fingerprint.IsZero() {
		next.Fingerprint = rec.Fingerprint
	}
	next.Expires = next.Deadline.Add(next.Retention)
	op.Verdict = Verdict{Outcome: Claimed, Grant: next.grant(), Remaining: req.TTL,
		Takeover: rec.State == StatePending}
	*rec = next
}

func stepExtend(rec *Record, op *Op, now Instant) (write bool) {
	if rec.State != StatePending || !rec.heldBy(op.Grant) {
		op.Err = ErrLost
		return false
	}
	rec.Deadline = now.Add(op.TTL)
	rec.Expires = rec.Deadline.Add(rec.Retention)
	return true
}

func stepMarkDone(rec *Record, op *Op, now Instant) (write bool) {
	c := &op.Completion
	next := Record{State: StateDone, Fence: op.Grant.Fence, Expires: now.Add(c.Retention), Omitted: c.Omitted}
	if len(c.Result) > MaxResultBytes {
		next.Omitted = true
	} else {
		next.Result = c.Result
	}
	switch {
	case rec.State == StatePending && rec.heldBy(op.Grant):
		next.Fingerprint = rec.Fingerprint
		if c.Retention == rec.Retention && now <= rec.Deadline { // then a store can leave the end as it is
			next.Expires = rec.Expires
		}
		// A revived key's fence is the time then. A fence ahead of the clock, which
		// was set back, has to be kept for it.
		if next.isBare() && next.Fence <= now.fence() {
			next.Fence = op.Grant.Token.Stamp()
		}
	case rec.State == StateDone && rec.finishedBy(op.Grant):
		op.Recovered = rec.Recovered
		return false
	case rec.State == StateAbsent:
		next.Fingerprint = c.Fingerprint
		next.Recovered, op.Recovered = true, true
	default:
		op.Err = ErrLost
		return false
	}
	*rec = next
	return true
}

func stepMarkDead(rec *Record, op *Op, now Instant) (write bool) {
	switch {
	case rec.State == StatePending && rec.heldBy(op.Grant):
		rec.State = StateDead
		rec.Reason = CutReason(op.Reason)
		rec.Expires = now.Add(rec.Retention)
		return true
	case rec.State == StateDead && rec.heldBy(op.Grant):
		return false
	}
	op.Err = ErrLost
	return false
}

func stepRelease(rec *Record, op *Op, now Instant) (write bool) {
	g := op.Grant
	mine := rec.heldBy(g) || g.Fence == 0 && rec.Token == g.Token
	switch {
	case rec.State == StatePending && mine:
		rec.State = StateReleased
		if g.Fence == 0 {
			// Who never heard of its grant ran nothing.
			rec.Attempt = max(0, rec.Attempt-1)
		}
		rec.Deadline = now.Add(op.TTL)
		rec.Expires = rec.Deadline.Add(rec.Retention)
		return true
	case rec.State == StateReleased && mine:
		return false
	case rec.State == StateAbsent:
		deadline := now.Add(op.TTL)
		*rec = Record{State: StateReleased, Key: op.Key, Token: g.Token, Fence: g.Fence, Attempt: g.Attempt,
			Deadline: deadline, Retention: TombstoneTTL, Expires: deadline.Add(TombstoneTTL)}
		return true
	}
	op.Err = ErrLost
	return false
}

func stepForget(rec *Record, op *Op) (write bool) {
	switch {
	case rec.State == StateAbsent:
		return false
	case rec.State != op.Seen || rec.Fence != op.Grant.Fence:
		op.Err = ErrLost
		return false
	}
	*rec = Record{}
	return true
}

func stepRevive(rec *Record, op *Op, now Instant) (write bool) {
	running := rec.State == StatePending && now < rec.Deadline
	same := rec.State != StateAbsent && rec.Fence == op.Grant.Fence
	// Only what was done is released without a token.
	wasDone := op.Seen == StateDone && rec.Token.IsZero()
	switch {
	case same && rec.State == op.Seen && !running:
	case (same || wasDone) && rec.State == StateReleased && rec.Attempt == 0:
		return false // revived before: the first reply was lost
	default:
		op.Err = ErrLost
		return false
	}
	fence := rec.Fence
	if rec.State == StateDone {
		fence = max(fence, now.fence())
	}
	// The token stays, so that a late copy of the old claim is Stale.
	*rec = Record{State: StateReleased, Key: op.Key, Token: rec.Token, Fence: fence,
		Fingerprint: rec.Fingerprint, Deadline: now, Retention: rec.Expires.Sub(now), Expires: rec.Expires}
	return true
}

// AttemptsExhausted returns the reason of a record that died because the key
// had all its attempts.
func AttemptsExhausted(attempt int) string {
	return "attempts exhausted after " + strconv.Itoa(attempt)
}

func (r *Record) grant() Grant {
	return Grant{Token: r.Token, Fence: r.Fence, Attempt: r.Attempt}
}

func (r *Record) heldBy(g Grant) bool { return r.Token == g.Token && r.Fence == g.Fence }

// finishedBy reports whether the done record r is, or may be, that of g. Fences are
// times and far above all stamps.
func (r *Record) finishedBy(g Grant) bool {
	return r.Fence == g.Fence || r.Fence == g.Token.Stamp() || r.Fence == 0
}

// isBare reports whether the done record r keeps nothing but that it is done.
func (r *Record) isBare() bool {
	return r.Result == nil && !r.Omitted && !r.Recovered && r.Fingerprint.IsZero()
}

// fence returns the moment as a fence.
func (t Instant) fence() uint64 { return uint64(max(t, 1)) }
