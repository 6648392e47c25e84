package model

import "github.com/oncebus/once/claim"

// The network and the store. A request that was sent may be carried out at any
// later moment, as often as the network likes, whether or not its sender still
// waits, lives, or has other requests out; or never. Its answer is heard only by
// a sender that waits for it, and may be lost even then.
const (
	// execute: the store carries out a request, and nobody hears the answer.
	execute eventKind = iota + 16
	// answer: the store carries out a request, and its sender hears the answer.
	answer
	// expire: the lease of the pending record runs out.
	expire
	// mature: the delay of the released record is over.
	mature
	// lose: the store forgets the record.
	lose
	// replicate: the replica has the record as it is now.
	replicate
	// failover: the store goes on from the replica.
	failover
)

// part says which of the requests of an attempt is meant.
type part uint8

const (
	theClaim  part = iota
	theExtend      // the heartbeat
	theEnding
)

// networkEvents appends what the network may do with what was ever sent, and what
// time and misfortune may do to the record.
func (c *checker) networkEvents(s *state, events []event) []event {
	for i := range s.delivered {
		a := &s.attempts[i]
		events = c.sent(s, events, i+1, theClaim)
		// The first heartbeat counts as sent with the grant: the network may keep it
		// back for as long as the keeper would have waited, or for ever. The answer
		// cannot do more than cancel the handler, and the model's handlers may fail
		// at any moment and need not heed it.
		if a.fence != 0 {
			events = c.sent(s, events, i+1, theExtend)
		}
		if a.ending != unended {
			events = c.sent(s, events, i+1, theEnding)
		}
	}
	switch {
	case s.rec.state == claim.StatePending && s.rec.ahead && c.has(Expiry):
		events = append(events, event{kind: expire})
	case s.rec.state == claim.StateReleased && s.rec.ahead:
		events = append(events, event{kind: mature})
	}
	if s.rec.state != claim.StateAbsent && c.has(Loss) {
		events = append(events, event{kind: lose})
	}
	if c.has(Failover) {
		if s.rec.copied() != s.replica {
			events = append(events, event{kind: replicate})
		}
		if s.rec != s.replica {
			events = append(events, event{kind: failover})
		}
	}
	return events
}

func (c *checker) sent(s *state, events []event, token uint8, p part) []event {
	events = append(events, event{kind: execute, who: token, part: p})
	if s.waiting(token, p) != nil {
		events = append(events, event{kind: answer, who: token, part: p})
	}
	return events
}

// waiting returns the worker that waits for the answer to a request, or nil.
func (s *state) waiting(token uint8, p part) *worker {
	for i := range s.workers {
		w := &s.workers[i]
		if w.token == token && (p == theClaim && w.at == claiming ||
			p == theEnding && (w.at == completing || w.at == burying)) {
			return w
		}
	}
	return nil
}

// request returns a request that was sent.
func (s *state) request(token uint8, p part) request {
	a := s.attempts[token-1]
	r := request{token: token, fence: a.fence, number: a.number}
	switch {
	case p == theClaim:
		r.kind, r.fence, r.number = claim.OpTryClaim, 0, 0
	case p == theExtend:
		r.kind = claim.OpExtend
	case a.ending == completed:
		r.kind = claim.OpMarkDone
	case a.ending == buried:
		r.kind = claim.OpMarkDead
	case a.ending == released:
		r.kind = claim.OpRelease
	case a.ending == givenUp:
		r.kind, r.fence, r.number = claim.OpRelease, 0, 0
	}
	return r
}

// carry has the store carry out a request in o.next, and tells its sender if the
// answer is heard.
func (c *checker) carry(o *outcome, ev event) {
	s := &o.next
	r := s.request(ev.who, ev.part)
	o.request, o.reply = r, c.carryOut(s, r, later)
	c.judge(o, r)
	c.look(o, r, s.waiting(ev.who, ev.part) == nil)
	c.remember(o, r)
	s.rec = o.reply.after
	if ev.kind == answer {
		c.hear(o, s.waiting(ev.who, ev.part))
	}
}

// hear is what a worker does with an answer.
func (c *checker) hear(o *outcome, w *worker) {
	rep := &o.reply
	switch {
	case rep.claimed():
		c.run(o, w)
	case rep.done():
		c.settle(o, w, ack)
	case rep.dead():
		c.settle(o, w, reject)
	case rep.kind == claim.OpTryClaim:
		// Pending. Or Stale: dedupe takes a fresh token within the delivery; here
		// that is another delivery.
		c.settle(o, w, retry)
	default:
		c.settle(o, w, leave)
	}
}

// remember keeps the ghost in step with what the store has done. o.next has the
// record from before.
func (c *checker) remember(o *outcome, r request) {
	rep, g := &o.reply, &o.next.ghost
	ends := false
	switch {
	case rep.granted():
		g.highest = max(g.highest, rep.fence)
		g.live, g.ended = r.token, 0
		g.grants = min(g.grants+1, uint8(c.cfg.MaxAttempts))
	case r.kind == claim.OpExtend && rep.wrote && rep.after.ahead && r.current(&rep.before):
		// Nobody took the key in the meantime.
		g.live = r.token
	case r.kind == claim.OpRelease && rep.err == nil:
		ends = true
		g.ended = r.token
		if r.fence == 0 && rep.wrote && rep.before.state == claim.StatePending && g.grants > 0 {
			g.grants-- // given back by a claimant that never heard of it
		}
	case r.kind == claim.OpMarkDone && rep.err == nil && rep.wrote:
		ends = true
		if g.effect {
			g.firm = r.token
		}
	case r.kind == claim.OpMarkDead && rep.err == nil:
		ends = true
	}
	if ends && g.live == r.token {
		g.live = 0
	}
}

// befall is what time and misfortune do to the record in o.next.
func (c *checker) befall(o *outcome, kind eventKind) {
	s := &o.next
	switch kind {
	case mature:
		s.rec.ahead = false
	case expire:
		s.rec.ahead = false
		s.excuse(s.rec.token)
	case lose:
		s.restart(record{})
	case replicate:
		s.replica = s.rec.copied()
	case failover:
		o.sawIf(s.rec.state == claim.StateDone || s.rec.state == claim.StateDead, sawUndone)
		s.restart(s.replica)
	}
}

// copied returns the record as a replica has it.
func (r record) copied() record {
	r.ahead = r.state == claim.StatePending || r.state == claim.StateReleased
	return r
}

// restart has the store go on from an earlier record. Nothing that was granted
// before it protects its handler any more.
func (s *state) restart(rec record) {
	for _, w := range s.workers {
		s.excuse(w.token)
	}
	s.rec = rec
	g := &s.ghost
	g.live, g.ended, g.firm, g.grants = 0, 0, 0, rec.number
	switch rec.state {
	case claim.StatePending:
		g.live = rec.token
	case claim.StateReleased:
		g.ended = rec.token
	case claim.StateDone:
		for i := range s.delivered {
			if r := (request{token: i + 1, fence: s.attempts[i].fence}); r.current(&rec) {
				g.firm = i + 1
			}
		}
	}
}

// excuse notes that the grant of token does not protect its handler any more.
func (s *state) excuse(token uint8) {
	for i := range s.workers {
		if w := &s.workers[i]; w.token == token && w.inHandler() {
			w.excused = true
		}
	}
	if s.ghost.live == token {
		s.ghost.live = 0
	}
	if s.ghost.firm == token {
		s.ghost.firm = 0
	}
}
