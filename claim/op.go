package claim

import (
	"context"
	"time"
)

// OpKind names an operation of the state machine.
type OpKind uint8

// The operations.
const (
	OpTryClaim OpKind = iota + 1
	OpExtend
	OpMarkDone
	OpMarkDead
	OpRelease
	OpForget
	OpRevive
)

var opNames = [...]string{
	OpTryClaim: "TryClaim", OpExtend: "Extend", OpMarkDone: "MarkDone", OpMarkDead: "MarkDead",
	OpRelease: "Release", OpForget: "Forget", OpRevive: "Revive",
}

// String returns the name of the Store's or Inspector's method.
func (k OpKind) String() string { return nameOf(opNames[:], int(k), "operation") }

// Op is one operation with its arguments and its answer, so that many can
// travel together. Set Kind, Key and what the kind needs; read the answer after
// Apply.
type Op struct {
	Kind OpKind
	Key  Key

	// Request is for OpTryClaim.
	Request Request
	// Grant is for all other kinds. OpForget and OpRevive use its Fence alone.
	Grant Grant
	// Seen is for OpForget and OpRevive: with Grant.Fence, what the operator saw.
	Seen State
	// TTL is the lease for OpExtend and the delay for OpRelease.
	TTL time.Duration
	// Completion is for OpMarkDone.
	Completion Completion
	// Reason is for OpMarkDead.
	Reason string

	// Verdict is the answer to OpTryClaim, zero when Err is not nil.
	Verdict Verdict
	// Recovered is the second answer to OpMarkDone.
	Recovered bool
	// Err is the operation's error, of type *Error when Apply set it.
	Err error
}

// Fail sets err as the operation's answer, wrapped as *Error, and clears the
// rest of the answer. Stores use it.
func (op *Op) Fail(err error) {
	op.Verdict, op.Recovered = Verdict{}, false
	op.Err = &Error{Op: op.Kind, Key: op.Key, Err: err}
}

// seen returns what OpForget and OpRevive compare, as a Record.
func (op *Op) seen() Record { return Record{State: op.Seen, Fence: op.Grant.Fence} }

// Batcher is implemented by stores that carry many operations in one trip.
type Batcher interface {
	// Apply carries out ops and sets the answer of each. Operations fail one by
	// one; those on one key take effect in the order of the slice. When ctx ends
	// first, those without an answer have an error that matches ErrUnknown, or
	// ErrUnavailable if they were never sent. Once Apply has returned, it does not
	// look at ops any more.
	Apply(ctx context.Context, ops []*Op)
}

// Apply carries out ops on s, in one trip if s is a Batcher and one by one
// otherwise, and sets the answer of each. A single one goes by its method, where
// a store may combine it with those of other callers. OpForget and OpRevive need
// a store that is an Inspector.
func Apply(ctx context.Context, s Store, ops []*Op) {
	single := len(ops) == 1 && ops[0].Kind <= OpRelease
	if b, ok := s.(Batcher); ok && !single {
		b.Apply(ctx, ops)
		return
	}
	for _, op := range ops {
		apply(ctx, s, op)
	}
}

func apply(ctx context.Context, s Store, op *Op) {
	op.Verdict, op.Recovered, op.Err = Verdict{}, false, nil
	switch op.Kind {
	case OpTryClaim:
		op.Verdict, op.Err = s.TryClaim(ctx, op.Key, op.Request)
	case OpExtend:
		op.Err = s.Extend(ctx, op.Key, op.Grant, op.TTL)
	case OpMarkDone:
		op.Recovered, op.Err = s.MarkDone(ctx, op.Key, op.Grant, op.Completion)
	case OpMarkDead:
		op.Err = s.MarkDead(ctx, op.Key, op.Grant, op.Reason)
	case OpRelease:
		op.Err = s.Release(ctx, op.Key, op.Grant, op.TTL)
	case OpForget, OpRevive:
		i, ok := s.(Inspector)
		switch {
		case !ok:
			op.Fail(Unavailable(nil))
		case op.Kind == OpForget:
			op.Err = i.Forget(ctx, op.Key, op.seen())
		default:
			op.Err = i.Revive(ctx, op.Key, op.seen())
		}
	default:
		op.Fail(op.Validate())
	}
}
