package histories

import (
	"context"

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
	l.do([]*claim.Op{op}, func() { claim.Apply(ctx, l.client.Store, []*claim.Op{op}) })
}

// Apply implements claim.Batcher.
func (l *log) Apply(ctx context.Context, ops []*claim.Op) {
	l.do(ops, func() { claim.Apply(ctx, l.client.Store, ops) })
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
