package faultstore

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/oncebus/once/claim"
)

// errFault is the cause in the errors that a Store makes up.
var errFault = errors.New("faultstore")

// Store is a claim.Store, a claim.Batcher and a claim.Inspector around another
// store. Without rules it passes everything through. It is safe for concurrent
// use.
type Store struct {
	claim.Singles

	inner claim.Store

	mu    sync.Mutex
	rules []*rule // guarded by mu, as is the rest
	gates []*gate
	held  int
	calls []Call
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// New returns a Store around inner. Get and List pass through without faults;
// they, Forget and Revive need an inner store that is a claim.Inspector, and
// answer ErrUnavailable without one.
func New(inner claim.Store) *Store {
	s := &Store{inner: inner}
	s.Singles = claim.SinglesBy(s.one)
	return s
}

// On makes fault strike the next n operations of a kind, or all from now on
// with Always; Any is every kind. Rules are asked in the order in which they
// were made, and each operation is struck by the first that matches and has
// strikes left.
func (s *Store) On(kind claim.OpKind, fault Fault, n int) {
	if fault >= Scripted {
		panic("faultstore: On takes a fault from None to Twice; for errors there is Answer")
	}
	s.add(&rule{kind: kind, fault: fault, left: n})
}

// Answer makes the next n operations of a kind fail with err, wrapped as
// *claim.Error, without the inner store seeing them. Err should match one of
// claim's sentinels, as a store's errors do.
func (s *Store) Answer(kind claim.OpKind, err error, n int) {
	s.add(&rule{kind: kind, fault: Scripted, err: err, left: n})
}

// Reset removes all rules of On and Answer. Holds stay until they are released.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Calls returns the history so far, in the order in which the operations were
// answered. An operation that is still waiting is not in it.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count returns how many operations of a kind were answered to their callers;
// those that landed late are not counted again. Any counts all.
func (s *Store) Count(kind claim.OpKind) int {
	n := 0
	for _, c := range s.Calls() {
		if !c.Late && (kind == Any || kind == c.Op.Kind) {
			n++
		}
	}
	return n
}

// Get implements claim.Inspector.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	i, ok := s.inner.(claim.Inspector)
	if !ok {
		return claim.Entry{}, claim.Unavailable(errFault)
	}
	return i.Get(ctx, key)
}

// List implements claim.Inspector.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	i, ok := s.inner.(claim.Inspector)
	if !ok {
		return nil, "", claim.Unavailable(errFault)
	}
	return i.List(ctx, filter, cursor, limit)
}

// Apply implements claim.Batcher.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	s.travel(ctx, ops, func(ctx context.Context, ops []*claim.Op) { claim.Apply(ctx, s.inner, ops) })
}

// one sends a single operation by the inner store's own method for it.
func (s *Store) one(ctx context.Context, op *claim.Op) {
	s.travel(ctx, []*claim.Op{op}, func(ctx context.Context, ops []*claim.Op) { claim.Apply(ctx, s.inner, ops) })
}

func (s *Store) add(r *rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
}
