package histories

import (
	"errors"

	"github.com/oncebus/once/claim"
)

// life is what the clock says of a record when an operation takes effect, and
// what can be learned from that.
type life struct {
	leaseOver, gone bool
	lease, end      timer
	window          window
}

// lives returns all that may be so in w.
func (s *state) lives(w window) []life {
	if s.record.state == claim.StateAbsent {
		return []life{{gone: true, window: w}}
	}
	var all []life
	add := func(l life) {
		if !l.window.empty() {
			all = append(all, l)
		}
	}
	end, kept := s.end.running(w)
	if s.record.state == claim.StatePending || s.record.state == claim.StateReleased {
		lease, while := s.lease.running(kept)
		add(life{lease: lease, end: end, window: while})
		lease, after := s.lease.over(kept)
		add(life{leaseOver: true, lease: lease, end: end, window: after})
	} else {
		add(life{leaseOver: true, end: end, window: kept})
	}
	_, after := s.end.over(w)
	add(life{leaseOver: true, gone: true, window: after})
	return all
}

// reading is one way to read the fence of a record.
type reading struct {
	fence uint64
	open  bool // it stays unknown, and is not what the operation shows
}

// readings returns the ways in which the fence of s can be read by op: as the
// one that op shows, or as another.
func (s *state) readings(op *claim.Op) []reading {
	if !s.open {
		return []reading{{fence: s.record.fence}}
	}
	other := s.floor + 1
	if op.Kind == claim.OpTryClaim {
		return []reading{{fence: other, open: true}}
	}
	if other == op.Grant.Fence {
		other++
	}
	all := []reading{{fence: other, open: true}}
	if op.Grant.Fence > s.floor {
		all = append(all, reading{fence: op.Grant.Fence})
	}
	return all
}

// apply returns the states that s may become by op, at a moment in w. Where the
// answer is known, only those count in which claim.Step gives that answer; where
// it is not, only those in which something is written.
func (s *state) apply(op *claim.Op, answered bool, w window) []state {
	var all []state
	for _, l := range s.lives(w) {
		for _, r := range s.readings(op) {
			for _, now := range clocks(op) {
				if next, ok := s.step(op, answered, l, r, now); ok {
					all = append(all, next)
				}
			}
		}
	}
	return all
}

// clocks returns the moments at which Step is asked about op. A done record has
// the stamp of its owner or the fence, which Step decides by the clock.
func clocks(op *claim.Op) []claim.Instant {
	if op.Kind == claim.OpMarkDone {
		return []claim.Instant{stepNow, 0}
	}
	return []claim.Instant{stepNow}
}

// step asks claim.Step about one life and one reading, at the moment now.
func (s *state) step(op *claim.Op, answered bool, l life, r reading, now claim.Instant) (state, bool) {
	rec := s.record.unpack()
	rec.Fence = r.fence
	rec.Deadline, rec.Expires = stepFar, stepFar
	if l.leaseOver {
		rec.Deadline = stepPast
	}
	if l.gone {
		rec, r = claim.Record{}, reading{}
	}
	want := *op
	written, write := claim.Step(rec, &want, now)

	next := *s
	next.now = l.window.from
	next.lease, next.end = l.lease.seen(l.window), l.end.seen(l.window)
	if l.gone {
		next.forget()
	} else if s.open && !r.open {
		next.bind(r.fence)
	}
	granted := write && want.Verdict.Outcome == claim.Claimed
	if write {
		next.write(&written, l.window, r, now)
	}
	if !answered {
		if granted {
			next.record.fence, next.open, next.floor = 0, true, next.top
			next.top++
		}
		return next, write
	}
	if !sameAnswer(op, &want) || !next.learn(op, l.window, granted, r.fence) {
		return state{}, false
	}
	return next, true
}

// forget makes the record absent.
func (s *state) forget() {
	s.record, s.open, s.floor = record{}, false, 0
	s.lease, s.end = timer{}, timer{}
}

// bind sets the fence of the record, which is known now.
func (s *state) bind(fence uint64) {
	s.record.fence, s.open, s.floor = fence, false, 0
	s.top = max(s.top, fence)
}

// write replaces the record by what claim.Step returned.
func (s *state) write(written *claim.Record, w window, r reading, now claim.Instant) {
	if written.State == claim.StateAbsent {
		s.forget()
		return
	}
	s.record = pack(written)
	switch {
	case written.Fence == uint64(stepNow):
		// It is the store's time, which is not before any grant.
		s.record.fence, s.open, s.floor = 0, true, max(s.top, 1)-1
	case s.open && r.open && written.Fence == r.fence:
		s.record.fence = 0 // as unknown as before
	default:
		s.open, s.floor = false, 0
	}
	s.lease = timer{}
	if written.State == claim.StatePending || written.State == claim.StateReleased {
		s.lease = w.set(written.Deadline.Sub(now))
	}
	if written.Expires == stepFar {
		// A revived record ends when it would have ended, and the retention that it
		// is given to say so is never used.
		s.record.retention = 0
		return
	}
	s.end = w.set(written.Expires.Sub(now))
}

// learn takes over what the answer of op says and the model did not know: the
// fence, and how long timers still run. It reports whether it can be so. before
// is the fence of the record that was there.
func (s *state) learn(op *claim.Op, w window, granted bool, before uint64) (ok bool) {
	v := &op.Verdict
	switch v.Outcome {
	case claim.Claimed:
		fence := v.Grant.Fence
		switch {
		case granted && fence <= max(s.top, before),
			!granted && s.open && fence <= s.floor,
			!granted && !s.open && fence != s.record.fence:
			return false
		}
		s.bind(fence)
		s.lease, ok = s.lease.told(w, v.Remaining)
		return ok
	case claim.Pending:
		s.lease, ok = s.lease.told(w, v.Remaining)
		return ok
	case claim.Done:
		s.end, ok = s.end.told(w, v.Remaining)
		return ok
	}
	return true
}

// sameAnswer compares what a store answered with what claim.Step did, but for
// fences and lengths of time.
func sameAnswer(got, want *claim.Op) bool {
	g, w := &got.Verdict, &want.Verdict
	return errors.Is(got.Err, claim.ErrLost) == errors.Is(want.Err, claim.ErrLost) &&
		got.Recovered == want.Recovered &&
		g.Outcome == w.Outcome && g.Takeover == w.Takeover &&
		g.Grant.Token == w.Grant.Token && g.Grant.Attempt == w.Grant.Attempt &&
		g.Attempt == w.Attempt && g.Reason == w.Reason &&
		g.Omitted == w.Omitted && string(g.Result) == string(w.Result)
}
