package model

import (
	"fmt"

	"github.com/oncebus/once/claim"
)

// Invariant names what must hold.
type Invariant string

// The invariants. The numbered ones are those of the project; I10 is about the
// sink of the effects and has no place in a model of the store.
const (
	I1   Invariant = "I1"
	I2   Invariant = "I2"
	I3   Invariant = "I3"
	I4   Invariant = "I4"
	I5   Invariant = "I5"
	I6   Invariant = "I6"
	I7   Invariant = "I7"
	I8   Invariant = "I8"
	I9   Invariant = "I9"
	I11  Invariant = "I11"
	I12  Invariant = "I12"
	L3   Invariant = "L3"
	Park Invariant = "Park"
	Max  Invariant = "Max"
)

var meanings = map[Invariant]string{
	I1:   "at most one grant is neither ended nor expired",
	I2:   "the fence strictly rises over all grants, through a loss of the records and on a clock that stands still",
	I3:   "done and dead end by a loss of the records only",
	I4:   "a request whose token and fence are not current changes nothing and is answered lost; without a record a completion is accepted and reported as recovered, and a release may be accepted",
	I5:   "the bus is acked only after done was observed, and a message rejected only after dead or parked was; what is answered done or dead is recorded",
	I6:   "a message that is acked has had its effect",
	I7:   "when all leases are over, a new claim is granted and can be completed, or the key is done, dead or parked",
	I8:   "a request repeated at once gets the same answer, stale or lost and writes nothing; a live grant's claim is always answered with that grant; after a release no late copy of its claim is granted before another's",
	I9:   "two handlers overlap only if the lease of one of them was over, or its record lost, after its grant",
	I11:  "no claim is given back while its handler runs",
	I12:  "a claim is answered with an outcome or an error, and a handler starts only on Claimed, with a grant of its own token that is recorded",
	L3:   "a second effect needs a lease outlived or a record lost, of one of the two handlers",
	Park: "under claim.Park no expired claim is taken over",
	Max:  "while no record is lost, at most MaxAttempts claims are granted and not given back unheard of",
}

// Invariants returns all invariants, in order.
func Invariants() []Invariant {
	return []Invariant{I1, I2, I3, I4, I5, I6, I7, I8, I9, I11, I12, L3, Park, Max}
}

// Meaning says what the invariant holds.
func (i Invariant) Meaning() string { return meanings[i] }

// breach is an invariant that an event broke.
type breach struct {
	invariant Invariant
	detail    string
}

func (o *outcome) breaks(invariant Invariant, format string, args ...any) {
	o.broken = append(o.broken, breach{invariant, fmt.Sprintf(format, args...)})
}

// current reports whether the request's token and fence are those of the record.
// A done record has a stamp of the token, or the fence; a release of a claim
// without an answer has no fence.
func (r *request) current(rec *record) bool {
	switch {
	case rec.state == claim.StateAbsent:
		return false
	case rec.stamped():
		return r.token == rec.token
	case rec.state == claim.StateDone:
		return r.fence == rec.fence
	case r.kind == claim.OpRelease && r.fence == 0:
		return r.token == rec.token
	}
	return r.token == rec.token && r.fence == rec.fence
}

// judge checks what the store did with a request. o.next is the state before it.
func (c *checker) judge(o *outcome, r request) {
	rep := &o.reply
	finished := rep.before.state == claim.StateDone || rep.before.state == claim.StateDead
	if finished && rep.after != rep.before {
		o.breaks(I3, "%v ended a record that was finished", r.kind)
	}
	if r.kind == claim.OpTryClaim {
		c.judgeClaim(o, r)
	} else if r.fence != 0 || r.kind == claim.OpRelease {
		c.judgeHolder(o, r)
	}
	if a := rep.after; rep.done() && a.state != claim.StateDone || rep.dead() && rep.outcome != claim.Parked && a.state != claim.StateDead {
		o.breaks(I5, "%v is answered %s and the record is %s", r, c.answer(r, rep), a)
	}
	c.judgeRepetition(o, r)
}

func (c *checker) judgeClaim(o *outcome, r request) {
	rep, g := &o.reply, &o.next.ghost
	if rep.outcome.Valid() == (rep.err != nil) {
		o.breaks(I12, "a claim is answered %s, with the error %v", rep.outcome, rep.err)
	}
	switch {
	case rep.granted():
		c.judgeGrant(o, r)
	case rep.outcome == claim.Claimed && (g.live != r.token || rep.fence != rep.before.fence):
		o.breaks(I1, "t%d is answered with a grant that is not live", r.token)
	}
	if g.live == r.token && (rep.outcome != claim.Claimed || rep.wrote) {
		o.breaks(I8, "t%d has the live grant and its claim is answered %s", r.token, c.answer(r, rep))
	}
}

func (c *checker) judgeGrant(o *outcome, r request) {
	rep, g := &o.reply, &o.next.ghost
	if g.live != 0 {
		o.breaks(I1, "granted to t%d while the grant of t%d has neither ended nor expired", r.token, g.live)
	}
	if a := rep.after; rep.token != r.token || a.token != r.token || a.fence != rep.fence || a.state != claim.StatePending || !a.ahead {
		o.breaks(I12, "t%d is granted t%d with fence %d, and the record is %s", r.token, rep.token, rep.fence, a)
	}
	if rep.fence <= g.highest {
		o.breaks(I2, "fence %d was granted after fence %d", rep.fence, g.highest)
	} else if rep.before.fence == g.highest && g.highest > 0 {
		// The same grant, had the clock not moved since the last one.
		if still := c.carryOut(&o.next, r, claim.Instant(g.highest)); still.fence <= g.highest {
			o.breaks(I2, "fence %d was granted after fence %d within one microsecond", still.fence, g.highest)
		}
	}
	if g.ended == r.token {
		o.breaks(I8, "t%d was released and is granted again", r.token)
	}
	if c.cfg.Takeover == claim.Park && rep.before.state == claim.StatePending {
		o.breaks(Park, "t%d took over", r.token)
	}
	if limit := uint8(c.cfg.MaxAttempts); limit > 0 && g.grants == limit {
		o.breaks(Max, "t%d is granted the key after %d grants", r.token, limit)
	}
}

// judgeHolder checks a request that only the holder of a grant may send.
func (c *checker) judgeHolder(o *outcome, r request) {
	rep := &o.reply
	switch absent := rep.before.state == claim.StateAbsent; {
	case r.current(&rep.before):
	case absent && r.kind == claim.OpRelease:
		// Whether it leaves a tombstone is seen when a late copy of the claim lands.
	case absent && r.kind == claim.OpMarkDone:
		if rep.err == nil && !rep.recovered {
			o.breaks(I4, "a completion without a record is not reported as recovered")
		}
	case rep.wrote || !rep.lost():
		o.breaks(I4, "%v by t%d, which is not current, is answered %s and leaves the record %s",
			r.kind, r.token, c.answer(r, rep), rep.after)
	}
	if rep.done() && !r.current(&rep.after) {
		o.breaks(I5, "%v is accepted and the record is %s", r, rep.after)
	}
	if r.kind == claim.OpRelease && rep.before.state == claim.StatePending && rep.wrote {
		for i, w := range o.next.workers {
			if w.inHandler() && w.token == rep.before.token {
				o.breaks(I11, "the claim of %s is given back while its handler runs", workerName(i))
			}
		}
	}
}

// judgeRepetition repeats a request that wrote. One that did not write, or that
// left nothing behind, cannot know that it is a repetition.
func (c *checker) judgeRepetition(o *outcome, r request) {
	if !o.reply.wrote || o.reply.after.state == claim.StateAbsent {
		return
	}
	once := o.next
	once.rec = o.reply.after
	once.ghost.highest = max(once.ghost.highest, o.reply.fence)
	again := c.carryOut(&once, r, later)
	stale := again.outcome == claim.Stale || again.lost()
	if !stale && !again.same(&o.reply) || again.after != again.before {
		o.breaks(I8, "%v is answered %s, and repeated at once %s, leaving the record %s",
			r.kind, c.answer(r, &o.reply), c.answer(r, &again), again.after)
	}
}

// judgeState checks what must hold at every moment.
func (c *checker) judgeState(o *outcome) {
	handlers, firm := 0, []string(nil)
	for i := range o.next.workers {
		if w := &o.next.workers[i]; w.inHandler() {
			handlers++
			if !w.excused {
				firm = append(firm, workerName(i))
			}
		}
	}
	o.sawIf(handlers > 1, sawOverlap)
	if len(firm) > 1 {
		o.breaks(I9, "the handlers of %s run at the same time, and nothing expired or was lost", firm)
	}
	c.judgeWayOut(o)
}

// unusedToken is above those of all deliveries.
const unusedToken = MaxDeliveries + 1

// judgeWayOut checks that nothing stands in the way of the message for ever.
func (c *checker) judgeWayOut(o *outcome) {
	s := o.next
	s.rec.ahead = false
	fresh := request{kind: claim.OpTryClaim, token: unusedToken}
	rep := c.carryOut(&s, fresh, later)
	switch rep.outcome {
	case claim.Done, claim.Dead:
		return
	case claim.Parked:
		if c.cfg.Takeover == claim.Park {
			return
		}
	case claim.Claimed:
		s.rec = rep.after
		s.ghost.highest = max(s.ghost.highest, rep.fence)
		done := c.carryOut(&s, request{kind: claim.OpMarkDone, token: fresh.token, fence: rep.fence, number: rep.number}, later)
		if done.done() && done.after.state == claim.StateDone {
			return
		}
		o.breaks(I7, "a new claim is granted and cannot be completed")
		return
	}
	o.breaks(I7, "with all leases over, a new claim is answered %s", c.answer(fresh, &rep))
}
