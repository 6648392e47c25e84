package model

// A worker is one process running package dedupe, as far as it has to do with the
// one key. Its moves are those of dedupe; where dedupe may only do a thing under
// a condition that the model does not have, as a clock of its own or a context,
// the model's worker may do it always.

// The moves of a worker.
const (
	// deliver: the bus delivers the message, for the first time or again, and the
	// worker sends a claim with a new token.
	deliver eventKind = iota
	// giveUp: no answer to the claim in time; it is released by its token alone and
	// the message retried.
	giveUp
	// takeEffect: the handler has its effect.
	takeEffect
	// succeed: the handler returns nil; the completion is sent.
	succeed
	// fail: the handler returns an error before its effect; the claim is given back
	// and the message retried.
	fail
	// failForGood: as fail, and the key is to be dead.
	failForGood
	// abandon: no answer to the completion, or to MarkDead, in time; the bus is
	// told nothing.
	abandon
	// crash: the process dies and a new one takes its place. A claim that the store
	// certainly did not get, and a handler that was told that its lease is lost and
	// failed, end in the same way: nothing is sent.
	crash
	// releaseEarly: a mutant gives its claim back while the handler runs.
	releaseEarly
)

// workerEvents appends the moves that the workers of s can make.
func (c *checker) workerEvents(s *state, events []event) []event {
	fresh := false
	for i := range uint8(c.cfg.Workers) {
		move := func(kind eventKind) { events = append(events, event{kind: kind, who: i}) }
		switch s.workers[i].at {
		case idle:
			// Idle workers are all alike: one of them is enough.
			if !fresh && s.delivered < uint8(c.cfg.Deliveries) {
				fresh = true
				move(deliver)
			}
		case claiming:
			move(giveUp)
		case running:
			move(takeEffect)
			move(fail)
			if c.cfg.Permanent {
				move(failForGood)
			}
			if c.mistakes.releasesEarly && s.attempts[s.workers[i].token-1].ending == unended {
				move(releaseEarly)
			}
		case effected:
			move(succeed)
		case completing, burying:
			move(abandon)
		}
		// At the other positions a crash leaves behind what abandon does.
		if at := s.workers[i].at; c.has(Crash) && (at == claiming || at == running || at == effected) {
			move(crash)
		}
	}
	return events
}

// move makes a worker's move in o.next.
func (c *checker) move(o *outcome, ev event) {
	s := &o.next
	w := &s.workers[ev.who]
	if ev.kind == deliver {
		s.delivered++
		*w = worker{at: claiming, token: s.delivered}
		return
	}
	a := &s.attempts[w.token-1]
	switch ev.kind {
	case giveUp:
		a.ending = givenUp
		if c.mistakes.startsOnError {
			c.run(o, w)
		} else {
			c.settle(o, w, retry)
		}
	case takeEffect:
		w.at = effected
		c.affect(o, w)
	case succeed:
		a.ending = completed
		w.at, w.excused = completing, false
	case fail:
		a.ending = released
		c.settle(o, w, retry)
	case failForGood:
		a.ending = buried
		w.at, w.excused = burying, false
	case abandon:
		c.settle(o, w, leave)
	case crash:
		*w = worker{}
	case releaseEarly:
		a.ending = released
	}
}

// run starts the handler, because of the answer to the claim.
func (c *checker) run(o *outcome, w *worker) {
	o.worker = start
	rep := &o.reply
	a := &o.next.attempts[w.token-1]
	if !rep.claimed() {
		o.breaks(I12, "the handler of t%d starts without a grant", w.token)
	}
	a.fence, a.number = rep.fence, rep.number
	*w = worker{at: running, token: w.token}
	if c.mistakes.completesFirst {
		a.ending = completed
	}
}

// affect is the effect of w's handler.
func (c *checker) affect(o *outcome, w *worker) {
	g := &o.next.ghost
	if g.effect {
		o.saw(sawSecondEffect)
	}
	if g.firm != 0 && !w.excused {
		o.breaks(L3, "a second effect, by t%d after t%d, and nothing expired or was lost", w.token, g.firm)
	}
	g.effect = true
	if !w.excused {
		g.firm = w.token
	}
}

// reaction is what a worker does about an answer, or about having none. All but
// starting the handler settle its delivery.
type reaction uint8

const (
	none reaction = iota
	start
	ack
	retry
	reject
	leave // the bus is told nothing
)

// String returns the reaction as a predicate.
func (r reaction) String() string {
	return [...]string{
		start: "starts its handler", ack: "acks the message", retry: "retries the message",
		reject: "rejects the message", leave: "abandons the message",
	}[r]
}

// settle ends w's delivery. Nothing that the bus knows is in the state: it takes
// acks and retries of superseded deliveries, and may deliver again whatever it
// was told, as a publisher may publish again.
func (c *checker) settle(o *outcome, w *worker, how reaction) {
	if c.mistakes.acksAnyway && how != reject {
		how = ack
	}
	o.worker = how
	rep := &o.reply
	switch how {
	case ack:
		o.saw(sawAcked)
		if !rep.done() {
			o.breaks(I5, "%s acks and did not observe that the key is done", workerName(o.next.index(w)))
		}
		if !o.next.ghost.effect {
			o.breaks(I6, "%s acks a message that has had no effect", workerName(o.next.index(w)))
		}
	case reject:
		o.saw(sawRejected)
		if !rep.dead() {
			o.breaks(I5, "%s rejects and did not observe that the key is dead or parked", workerName(o.next.index(w)))
		}
	}
	*w = worker{}
}
