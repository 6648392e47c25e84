package crashkit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// errCrashed is what a process that is dead hears from everybody.
var errCrashed = errors.New("crashkit: the process is dead")

// trips is a claim.Store made of one function that carries operations.
type trips func(ctx context.Context, ops []*claim.Op)

var (
	_ claim.Store   = trips(nil)
	_ claim.Batcher = trips(nil)
)

// Apply implements claim.Batcher.
func (t trips) Apply(ctx context.Context, ops []*claim.Op) { t(ctx, ops) }

// TryClaim implements claim.Store.
func (t trips) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := t.one(ctx, claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req})
	return op.Verdict, op.Err
}

// Extend implements claim.Store.
func (t trips) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	return t.one(ctx, claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}).Err
}

// MarkDone implements claim.Store.
func (t trips) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (recovered bool, err error) {
	op := t.one(ctx, claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c})
	return op.Recovered, op.Err
}

// MarkDead implements claim.Store.
func (t trips) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, reason string) error {
	return t.one(ctx, claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}).Err
}

// Release implements claim.Store.
func (t trips) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	return t.one(ctx, claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}).Err
}

func (t trips) one(ctx context.Context, op claim.Op) *claim.Op {
	t(ctx, []*claim.Op{&op})
	return &op
}

// shelf is where the store of a scenario stands, so that another can stand in
// its place when it is to lose its records.
type shelf struct {
	mu    sync.Mutex
	store claim.Store // guarded by mu
	done  bool        // a completion has been recorded, now or in the store before; likewise
}

func (s *shelf) put(store claim.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
}

func (s *shelf) apply(ctx context.Context, ops []*claim.Op) {
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	claim.Apply(ctx, store, ops)
	for _, op := range ops {
		if op.Kind == claim.OpMarkDone && op.Err == nil {
			s.mu.Lock()
			s.done = true
			s.mu.Unlock()
		}
	}
}

// recorded reports whether a completion has been recorded.
func (s *shelf) recorded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// gate is the way of a process to its link, and so to the store. A process that
// is dead gets no answer that says anything.
func (p *process) gate(ctx context.Context, ops []*claim.Op) {
	for _, op := range ops {
		if !p.isDead() {
			_ = p.reach(ctx, moment{stage: sending, op: op.Kind}, op)
		}
	}
	if p.isDead() {
		p.refuse(ops)
		return
	}
	p.link.Apply(ctx, ops)
	for _, op := range ops {
		if !p.isDead() {
			_ = p.reach(ctx, moment{stage: answered, op: op.Kind}, op)
		}
	}
	if p.isDead() {
		p.refuse(ops)
	}
}

func (*process) refuse(ops []*claim.Op) {
	for _, op := range ops {
		op.Fail(claim.Unavailable(errCrashed))
	}
}
