//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// setNX is what many programs have in the place of this library: mark, then run.
func (w *worker) setNX(client redis.UniversalClient) bus.Handler {
	return func(ctx context.Context, m *bus.Message) error {
		order := m.Header.Get(HeaderOrder)
		name := "setnx:" + order
		if point := w.Plan.At(orderOf(order)); point == P1 || point == P2 {
			t := &trap{match: []byte(name), point: point, order: order}
			w.traps.arm(t)
			defer w.traps.disarm(t)
		}
		err := client.SetArgs(ctx, name, 1, redis.SetArgs{Mode: "NX", TTL: time.Hour}).Err()
		switch {
		case errors.Is(err, redis.Nil):
			return nil // somebody has it
		case err != nil:
			return fmt.Errorf("nemesis: %w", err)
		}
		return w.effect(ctx, m)
	}
}

// newer is a store of a later version, which knows the records of this one and
// writes done records that this one does not know.
type newer struct {
	claim.Store
	w      *worker
	client redis.UniversalClient
}

// newerMark begins such a record.
const newerMark = "Z2|"

func (s *newer) apply(ctx context.Context, ops []*claim.Op) {
	claim.Apply(ctx, s.Store, ops)
	for _, op := range ops {
		digest := op.Key.Digest()
		name := s.w.Prefix + string(digest[:])
		switch {
		case op.Kind == claim.OpMarkDone && op.Err == nil:
			op.Err = s.client.SetArgs(ctx, name, newerMark, redis.SetArgs{Mode: "XX", KeepTTL: true}).Err()
			if op.Err != nil {
				op.Fail(claim.Unknown(op.Err))
			}
		case errors.Is(op.Err, claim.ErrCorrupt) && s.client.Get(ctx, name).Val() == newerMark:
			op.Err = nil
			if op.Kind == claim.OpTryClaim {
				op.Verdict = claim.Verdict{Outcome: claim.Done, Remaining: s.w.Retention}
			}
		}
	}
}
