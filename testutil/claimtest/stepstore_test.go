package claimtest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// stepFunc has the shape of claim.Step.
type stepFunc func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool)

// stepStore is a store made of a map and a step, the smallest that there can
// be, and the body of the broken ones.
type stepStore struct {
	mu      sync.Mutex
	now     claim.Instant
	step    stepFunc
	records map[claim.Digest]claim.Record

	// Faults that are not of the step. See mutants_test.go.
	skipValidation  bool
	skipContext     bool
	skipClone       bool
	forgetAtLease   bool
	bareErrors      bool
	leakingErrors   bool
	reverseBatches  bool
	keepOldAnswers  bool
	answerWithError bool
}

func newStepStore(step stepFunc) *stepStore {
	return &stepStore{step: step, now: 1_784_000_000_123_456, records: map[claim.Digest]claim.Record{}}
}

func (s *stepStore) harness() *Harness {
	return &Harness{Store: s, Advance: s.advance, Unit: time.Second}
}

func (s *stepStore) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *stepStore) apply(ctx context.Context, op *claim.Op) {
	if err := ctx.Err(); err != nil && !s.skipContext {
		s.fail(op, claim.Unavailable(err))
		return
	}
	if err := op.Validate(); err != nil && !s.skipValidation {
		s.fail(op, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := op.Key.Digest()
	rec := s.records[digest]
	if s.forgetAtLease && rec.State == claim.StatePending && s.now >= rec.Deadline {
		rec = claim.Record{}
	}
	next, write := s.step(rec, op, s.now)
	if write && next.State == claim.StateAbsent {
		delete(s.records, digest)
	} else if write {
		if !s.skipClone {
			next.Result = bytes.Clone(next.Result)
		}
		s.records[digest] = next
	}
	if !s.skipClone {
		op.Verdict.Result = bytes.Clone(op.Verdict.Result)
	}
	if op.Err != nil {
		s.fail(op, op.Err)
	}
}

func (s *stepStore) fail(op *claim.Op, err error) {
	switch {
	case s.bareErrors:
		op.Verdict, op.Recovered, op.Err = claim.Verdict{}, false, err
	case s.leakingErrors:
		op.Fail(claim.Unavailable(nil))
		op.Err = &claim.Error{Op: op.Kind, Key: op.Key, Err: errorWithID{err, op.Key}}
	default:
		op.Fail(err)
	}
	if s.answerWithError {
		op.Verdict.Outcome = claim.Claimed
	}
}

// errorWithID is a careless error.
type errorWithID struct {
	error
	key claim.Key
}

func (e errorWithID) Error() string { return e.error.Error() + " for " + string(e.key.ID()) }
func (e errorWithID) Unwrap() error { return e.error }

func (s *stepStore) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	s.apply(ctx, &op)
	return op.Verdict, op.Err
}

func (s *stepStore) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	s.apply(ctx, &op)
	return op.Err
}

func (s *stepStore) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c}
	s.apply(ctx, &op)
	return op.Recovered, op.Err
}

func (s *stepStore) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}
	s.apply(ctx, &op)
	return op.Err
}

func (s *stepStore) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}
	s.apply(ctx, &op)
	return op.Err
}

func (s *stepStore) Apply(ctx context.Context, ops []*claim.Op) {
	if s.keepOldAnswers && ctx.Err() != nil {
		return
	}
	if s.reverseBatches {
		ops = slices.Clone(ops)
		slices.Reverse(ops)
	}
	for _, op := range ops {
		s.apply(ctx, op)
	}
}

func (s *stepStore) Get(_ context.Context, key claim.Key) (claim.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := claim.Entry{Digest: key.Digest(), Now: s.now}
	if rec := s.records[key.Digest()]; s.now < rec.Expires {
		entry.Record = rec
	}
	return entry, nil
}

// List goes through the records in the order of their digests; the cursor is
// the last one that it looked at.
func (s *stepStore) List(_ context.Context, filter claim.Filter, cursor string, limit int) ([]claim.Entry, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var page []claim.Entry
	for digest, rec := range s.records {
		if string(digest[:]) > cursor && s.now < rec.Expires && filter.Match(&rec) {
			page = append(page, claim.Entry{Record: rec, Digest: digest, Now: s.now})
		}
	}
	slices.SortFunc(page, func(a, b claim.Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	if len(page) <= limit {
		return page, "", nil
	}
	return page[:limit], string(page[limit-1].Digest[:]), nil
}

func (s *stepStore) Forget(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(ctx, &op)
	return op.Err
}

func (s *stepStore) Revive(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(ctx, &op)
	return op.Err
}

// storeOnly hides the Batcher and the Inspector.
type storeOnly struct{ claim.Store }

func TestStepPasses(t *testing.T) {
	Run(t, func(testing.TB) *Harness { return newStepStore(claim.Step).harness() })
}

func TestPlainStorePasses(t *testing.T) {
	open := func(testing.TB) *Harness {
		h := newStepStore(claim.Step).harness()
		h.Store = storeOnly{h.Store}
		return h
	}
	// Not through Run, which would print a page of skipped cases.
	for _, f := range Failures(t, open) {
		if f.Case[:len("Single")] == "Single" {
			t.Errorf("%s: %s", f.Case, f.Message)
		}
	}
}
