//go:build linux

package nemesis

import (
	"context"
	"errors"
	"time"

	"github.com/oncebus/once/claim"
)

// watched is the worker's store: the real one, with the points around each
// operation, and a note of what only the claimant sees.
type watched struct {
	claim.Store
	w *worker
	// match returns a trap for the requests about a record.
	match func(claim.Digest) trap
}

func (s *watched) apply(ctx context.Context, ops []*claim.Op) {
	var armed []*trap
	for _, op := range ops {
		order := string(op.Key.ID())
		point := s.w.Plan.At(orderOf(order))
		if point == P0 && op.Kind == claim.OpTryClaim {
			s.w.hook(P0, order)
		}
		if point != "" && onTheWire(op.Kind, point) {
			t := s.match(op.Key.Digest())
			t.point, t.order = point, order
			s.w.traps.arm(&t)
			armed = append(armed, &t)
		}
	}
	claim.Apply(ctx, s.Store, ops)
	if len(armed) == 0 { // the trial itself may hold the others up
		s.late(ctx)
	}
	for _, t := range armed {
		s.w.traps.disarm(t)
	}
	for _, op := range ops {
		s.note(op)
	}
}

// onTheWire reports whether a point is on the connection while an operation of
// the kind is under way.
func onTheWire(kind claim.OpKind, p Point) bool {
	switch kind {
	case claim.OpTryClaim:
		return p == P1 || p == P2
	case claim.OpMarkDone:
		return p == P6
	case claim.OpExtend:
		return p == AtExtend
	case claim.OpRelease:
		return p == AtRelease
	}
	return false
}

// LateBy is how much a call may outlive its deadline before it counts as late.
const LateBy = 100 * time.Millisecond

// late notes by how much an operation outlived its deadline.
func (s *watched) late(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	s.w.calls.Add(1)
	over := int64(time.Since(deadline))
	if over > int64(LateBy) {
		s.w.late.Add(1)
	}
	for {
		most := s.w.overshoot.Load()
		if over <= most || s.w.overshoot.CompareAndSwap(most, over) {
			return
		}
	}
}

func (s *watched) note(op *claim.Op) {
	order := string(op.Key.ID())
	switch {
	case errors.Is(op.Err, claim.ErrCorrupt):
		s.w.corrupt.Add(1)
	case errors.Is(op.Err, claim.ErrUnknown):
		s.w.unknown.Add(1)
	case errors.Is(op.Err, claim.ErrUnavailable):
		s.w.unavailable.Add(1)
	}
	switch op.Kind {
	case claim.OpTryClaim:
		v := &op.Verdict
		if v.Outcome != claim.Claimed {
			return
		}
		if v.Takeover {
			s.w.write(Line{Kind: lineTakeover, Order: order, Fence: v.Grant.Fence, Attempt: v.Grant.Attempt})
		}
		s.w.hook(P3, order)
	case claim.OpMarkDone:
		line := Line{Order: order, Fence: op.Grant.Fence, Attempt: op.Grant.Attempt}
		switch {
		case errors.Is(op.Err, claim.ErrLost):
			line.Kind = lineLost
		case op.Err == nil && op.Recovered:
			line.Kind = lineRecover
		default:
			return
		}
		s.w.write(line)
	}
}
