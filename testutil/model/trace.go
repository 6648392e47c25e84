package model

import (
	"fmt"
	"slices"

	"github.com/oncebus/once/claim"
)

// trace tells the way to a node, and the event after it.
func (c *checker) trace(at uint32, last event) []string {
	lines := []string{c.tell(c.nodes[at].state, last)}
	for at != 0 {
		n := &c.nodes[at]
		lines = append(lines, c.tell(c.nodes[n.from].state, n.by))
		at = n.from
	}
	slices.Reverse(lines)
	return lines
}

// tell describes ev from s.
func (c *checker) tell(s state, ev event) string {
	o := c.fire(s, ev)
	line := c.describe(&s, &o, ev)
	if o.next.rec != s.rec {
		line += "; the record is " + o.next.rec.String()
	}
	return line
}

func (c *checker) describe(s *state, o *outcome, ev event) string {
	if ev.kind >= execute {
		return c.describeStore(s, o, ev)
	}
	w := workerName(int(ev.who))
	token := max(s.workers[ev.who].token, o.next.workers[ev.who].token)
	asking, ending := o.next.request(token, theClaim), o.next.request(token, theEnding)
	switch ev.kind {
	case deliver:
		return fmt.Sprintf("%s is delivered the message and sends %s", w, asking)
	case giveUp:
		return fmt.Sprintf("%s has no answer to %s, sends %s and %s", w, asking, ending, o.worker)
	case takeEffect:
		return fmt.Sprintf("%s's handler has its effect", w)
	case succeed:
		return fmt.Sprintf("%s's handler returns; %s sends %s", w, w, ending)
	case fail:
		return fmt.Sprintf("%s's handler fails; %s sends %s and %s", w, w, ending, o.worker)
	case failForGood:
		return fmt.Sprintf("%s's handler fails for good; %s sends %s", w, w, ending)
	case abandon:
		return fmt.Sprintf("%s has no answer to %s and %s", w, ending, o.worker)
	case crash:
		return fmt.Sprintf("%s crashes", w)
	}
	return fmt.Sprintf("%s sends %s while its handler runs", w, ending)
}

func (c *checker) describeStore(s *state, o *outcome, ev event) string {
	switch ev.kind {
	case expire:
		return fmt.Sprintf("the lease of t%d runs out", s.rec.token)
	case mature:
		return "the delay of the release is over"
	case lose:
		return "the store loses the record"
	case replicate:
		return "the replica catches up"
	case failover:
		return "the store fails over to the replica"
	}
	line := fmt.Sprintf("the store carries out %s: %s", o.request, c.answer(o.request, &o.reply))
	switch w := s.waiting(ev.who, ev.part); {
	case w == nil:
		return line + ", and nobody waits for the answer"
	case ev.kind == execute:
		return line + ", and the answer is lost"
	default:
		return fmt.Sprintf("%s; %s %s", line, workerName(s.index(w)), o.worker)
	}
}

// answer describes what the store answers.
func (c *checker) answer(r request, rep *reply) string {
	switch {
	case rep.lost():
		return "lost"
	case rep.err != nil:
		return "refused"
	case r.kind != claim.OpTryClaim:
		if rep.recovered {
			return "fine, recovered"
		}
		return "fine"
	case rep.outcome == claim.Claimed && rep.takeover:
		return fmt.Sprintf("claimed, fence %d, a takeover", rep.fence)
	case rep.outcome == claim.Claimed:
		return fmt.Sprintf("claimed, fence %d", rep.fence)
	}
	return rep.outcome.String()
}

func workerName(i int) string { return string(rune('A' + i)) }

// index returns the number of a worker of s.
func (s *state) index(w *worker) int {
	for i := range s.workers {
		if w == &s.workers[i] {
			return i
		}
	}
	panic("model: not a worker of this state")
}

// String returns the operation with the token and the fence that were sent.
func (r request) String() string {
	if r.fence == 0 {
		return fmt.Sprintf("%v(t%d)", r.kind, r.token)
	}
	return fmt.Sprintf("%v(t%d, fence %d)", r.kind, r.token, r.fence)
}

// String returns the record in a few words.
func (r record) String() string {
	text := r.state.String()
	if r.token != 0 {
		text += fmt.Sprintf(" t%d", r.token)
	}
	if r.fence != 0 {
		text += fmt.Sprintf(" fence %d", r.fence)
	}
	switch {
	case r.state == claim.StatePending && !r.ahead:
		text += ", lease over"
	case r.state == claim.StateReleased && r.ahead:
		text += ", not yet claimable"
	}
	return text
}
