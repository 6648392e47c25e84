package faultstore

import (
	"context"
	"errors"

	"github.com/oncebus/once/claim"
)

// trip is a journey of operations to the inner store and back.
type trip struct {
	store  *Store
	ctx    context.Context // of a late trip: the caller's without its end
	ops    []*claim.Op
	faults []Fault
	errs   []error // of Scripted
	gate   *gate
	send   func(ctx context.Context, ops []*claim.Op)
}

// travel takes ops through rules and holds, and sets all answers.
func (s *Store) travel(ctx context.Context, ops []*claim.Op, send func(ctx context.Context, ops []*claim.Op)) {
	t := s.begin(ops, send)
	switch {
	case t.blocked():
		<-ctx.Done()
		t.giveUp(ctx)
	case t.gate != nil && !t.pass(ctx):
		t.giveUp(ctx)
	default:
		t.carry(ctx)
	}
	t.record(false)
}

// begin asks the rules and the holds once, together.
func (s *Store) begin(ops []*claim.Op, send func(ctx context.Context, ops []*claim.Op)) *trip {
	t := &trip{store: s, ops: ops, faults: make([]Fault, len(ops)), errs: make([]error, len(ops)), send: send}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range ops {
		t.faults[i], t.errs[i] = s.strike(op)
		for _, g := range s.gates {
			if t.gate == nil && matches(g.kind, op) {
				t.gate = g
			}
		}
	}
	return t
}

func (t *trip) blocked() bool {
	for _, f := range t.faults {
		if f == Block {
			return true
		}
	}
	return false
}

// pass waits at the gate. A trip that is given up stays counted until it lands.
func (t *trip) pass(ctx context.Context) bool {
	t.store.addHeld(1)
	if !t.gate.pass(ctx, t) {
		return false
	}
	t.store.addHeld(-1)
	return true
}

// carry sends what the faults let through and sets the answers.
func (t *trip) carry(ctx context.Context) {
	var through []*claim.Op
	first := make([]claim.Op, len(t.ops)) // of Twice
	for i, op := range t.ops {
		switch t.faults[i] {
		case None, LoseReply:
			through = append(through, op)
		case Twice:
			first[i] = *op
			through = append(through, &first[i], op)
		}
	}
	t.send(ctx, through)
	for i, op := range t.ops {
		switch t.faults[i] {
		case Twice:
			// A context that ends between the two must not make a lie of it.
			if errors.Is(op.Err, claim.ErrUnavailable) && !errors.Is(first[i].Err, claim.ErrUnavailable) {
				op.Fail(claim.Unknown(errFault))
			}
		case Fail:
			op.Fail(claim.Unavailable(errFault))
		case LoseRequest, LoseReply:
			op.Fail(claim.Unknown(errFault))
		case Scripted:
			op.Fail(t.errs[i])
		}
	}
}

// giveUp answers a caller whose context ended on the way.
func (t *trip) giveUp(ctx context.Context) {
	for _, op := range t.ops {
		op.Fail(claim.Unknown(ctx.Err()))
	}
}

// copy returns the trip with operations of its own, since the caller's are the
// caller's again once it has its answers.
func (t *trip) copy(ctx context.Context) *trip {
	late := *t
	late.ctx = context.WithoutCancel(ctx)
	late.ops = make([]*claim.Op, len(t.ops))
	for i, op := range t.ops {
		o := *op
		o.Completion.Result = append([]byte(nil), op.Completion.Result...)
		late.ops[i] = &o
	}
	return &late
}

// land carries a late trip out, in the goroutine that releases the hold.
func (t *trip) land() {
	t.carry(t.ctx)
	t.record(true)
	t.store.addHeld(-1)
}

func (t *trip) record(late bool) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range t.ops {
		s.calls = append(s.calls, Call{Op: *op, Fault: t.faults[i], Held: t.gate != nil, Late: late})
	}
}

func (s *Store) addHeld(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += n
}
