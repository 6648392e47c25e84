package histories

import (
	"context"
	"time"

	"github.com/oncebus/once/claim"
)

// What Client.Run is given can do all that a store can, as far as Client.Store
// can do it.
var (
	_ claim.Store     = (*log)(nil)
	_ claim.Batcher   = (*log)(nil)
	_ claim.Inspector = (*log)(nil)
)

// one records an operation that the client's store carries out by the method of
// its kind.
func (l *log) one(ctx context.Context, op *claim.Op) {
	l.do([]*claim.Op{op}, func() { claim.Apply(ctx, unbatched(l.client.Store), []*claim.Op{op}) })
}

// unbatched hides that s is a claim.Batcher.
func unbatched(s claim.Store) claim.Store {
	if i, ok := s.(claim.Inspector); ok {
		return struct {
			claim.Store
			claim.Inspector
		}{s, i}
	}
	return struct{ claim.Store }{s}
}

// Apply implements claim.Batcher.
func (l *log) Apply(ctx context.Context, ops []*claim.Op) {
	l.do(ops, func() { claim.Apply(ctx, l.client.Store, ops) })
}

// TryClaim implements claim.Store.
func (l *log) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	l.one(ctx, &op)
	return op.Verdict, op.Err
}

// Extend implements claim.Store.
func (l *log) Extend(ctx context.Context, key claim.Key, grant claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: grant, TTL: ttl}
	l.one(ctx, &op)
	return op.Err
}

// MarkDone implements claim.Store.
func (l *log) MarkDone(ctx context.Context, key claim.Key, grant claim.Grant, c claim.Completion) (recovered bool, err error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: grant, Completion: c}
	l.one(ctx, &op)
	return op.Recovered, op.Err
}

// MarkDead implements claim.Store.
func (l *log) MarkDead(ctx context.Context, key claim.Key, grant claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: grant, Reason: reason}
	l.one(ctx, &op)
	return op.Err
}

// Release implements claim.Store.
func (l *log) Release(ctx context.Context, key claim.Key, grant claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: grant, TTL: delay}
	l.one(ctx, &op)
	return op.Err
}

// Forget implements claim.Inspector.
func (l *log) Forget(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	l.one(ctx, &op)
	return op.Err
}

// Revive implements claim.Inspector.
func (l *log) Revive(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	l.one(ctx, &op)
	return op.Err
}

// Get implements claim.Inspector. Looks are not recorded.
func (l *log) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if i, ok := l.client.Store.(claim.Inspector); ok {
		return i.Get(ctx, key)
	}
	return claim.Entry{}, claim.Unavailable(nil)
}

// List implements claim.Inspector. Looks are not recorded.
func (l *log) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if i, ok := l.client.Store.(claim.Inspector); ok {
		return i.List(ctx, filter, cursor, limit)
	}
	return nil, "", claim.Unavailable(nil)
}
