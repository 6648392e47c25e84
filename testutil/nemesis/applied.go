//go:build linux

package nemesis

import (
	"context"
	"time"

	"github.com/oncebus/once/claim"
)

// applied is a store of which a wrapper sees every operation: those that come
// by their methods, alone, go to the function too.
type applied func(ctx context.Context, ops []*claim.Op)

var _ claim.Batcher = applied(nil)

// Apply implements claim.Batcher.
func (a applied) Apply(ctx context.Context, ops []*claim.Op) { a(ctx, ops) }

func (a applied) one(ctx context.Context, op claim.Op) *claim.Op {
	a(ctx, []*claim.Op{&op})
	return &op
}

// TryClaim implements claim.Store.
func (a applied) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := a.one(ctx, claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req})
	return op.Verdict, op.Err
}

// Extend implements claim.Store.
func (a applied) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	return a.one(ctx, claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}).Err
}

// MarkDone implements claim.Store.
func (a applied) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := a.one(ctx, claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c})
	return op.Recovered, op.Err
}

// MarkDead implements claim.Store.
func (a applied) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, reason string) error {
	return a.one(ctx, claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}).Err
}

// Release implements claim.Store.
func (a applied) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	return a.one(ctx, claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}).Err
}
