package claimtest

import (
	"context"
	"errors"
	"time"

	"github.com/oncebus/once/claim"
)

var contextCases = []testCase{
	{
		name: "context already cancelled",
		why:  "rule 7: no error reads as Claimed; ErrUnavailable means that nothing happened, ErrUnknown that the same request may be repeated",
		run: func(e *env) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			e.refusesContext(ctx)
		},
	},
	{
		name: "deadline already over",
		why:  "a call returns within its deadline, and what it then cannot say is ErrUnknown or ErrUnavailable",
		run: func(e *env) {
			ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
			defer cancel()
			e.refusesContext(ctx)
		},
	},
}

// refusesContext sends every operation with a context that is over.
func (e *env) refusesContext(ctx context.Context) {
	e.Helper()
	for _, kind := range []claim.OpKind{claim.OpTryClaim, claim.OpExtend, claim.OpMarkDone, claim.OpMarkDead, claim.OpRelease} {
		key := e.key()
		on := pending
		if kind == claim.OpTryClaim {
			on = absent
		}
		g := on.make(e, key)
		op := row{kind: kind}.op(e, key, g)
		e.ctx = ctx
		e.do(&op)
		e.ctx = context.Background()
		switch {
		case op.Err == nil:
			e.Fatalf("%v with a context that is over: no error, the answer is %+v", kind, op.Verdict)
		case errors.Is(op.Err, claim.ErrUnavailable):
			on.check(e, key, g)
		case errors.Is(op.Err, claim.ErrUnknown):
			// It may have happened; then its repetition answers as the first would.
			e.do(&op)
			e.fine(op.Err)
		default:
			e.Fatalf("%v with a context that is over: error %v, want ErrUnavailable or ErrUnknown", kind, op.Err)
		}
		if !errors.Is(op.Err, ctx.Err()) && op.Err != nil {
			e.Fatalf("%v with a context that is over: error %v does not match %v", kind, op.Err, ctx.Err())
		}
	}
}
