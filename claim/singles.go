package claim

import (
	"context"
	"time"
)

// Singles makes the methods of a Store, and Forget and Revive, of one function
// that carries out an operation. A store whose operations are trips or disk writes
// embeds it; the price is an allocation a call.
type Singles struct{ carry func(context.Context, *Op) }

// SinglesBy returns the Singles of carry, which sets the operation's answer and
// does not keep it.
func SinglesBy(carry func(context.Context, *Op)) Singles { return Singles{carry} }

// TryClaim implements Store.
func (s Singles) TryClaim(ctx context.Context, key Key, req Request) (Verdict, error) {
	op := Op{Kind: OpTryClaim, Key: key, Request: req}
	s.carry(ctx, &op)
	return op.Verdict, op.Err
}

// Extend implements Store.
func (s Singles) Extend(ctx context.Context, key Key, grant Grant, ttl time.Duration) error {
	op := Op{Kind: OpExtend, Key: key, Grant: grant, TTL: ttl}
	s.carry(ctx, &op)
	return op.Err
}

// MarkDone implements Store.
func (s Singles) MarkDone(ctx context.Context, key Key, grant Grant, c Completion) (recovered bool, err error) {
	op := Op{Kind: OpMarkDone, Key: key, Grant: grant, Completion: c}
	s.carry(ctx, &op)
	return op.Recovered, op.Err
}

// MarkDead implements Store.
func (s Singles) MarkDead(ctx context.Context, key Key, grant Grant, reason string) error {
	op := Op{Kind: OpMarkDead, Key: key, Grant: grant, Reason: reason}
	s.carry(ctx, &op)
	return op.Err
}

// Release implements Store.
func (s Singles) Release(ctx context.Context, key Key, grant Grant, delay time.Duration) error {
	op := Op{Kind: OpRelease, Key: key, Grant: grant, TTL: delay}
	s.carry(ctx, &op)
	return op.Err
}

// Forget is that of an Inspector.
func (s Singles) Forget(ctx context.Context, key Key, seen Record) error {
	op := Op{Kind: OpForget, Key: key, Grant: Grant{Fence: seen.Fence}, Seen: seen.State}
	s.carry(ctx, &op)
	return op.Err
}

// Revive is that of an Inspector.
func (s Singles) Revive(ctx context.Context, key Key, seen Record) error {
	op := Op{Kind: OpRevive, Key: key, Grant: Grant{Fence: seen.Fence}, Seen: seen.State}
	s.carry(ctx, &op)
	return op.Err
}
