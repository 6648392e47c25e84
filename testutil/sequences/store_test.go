package sequences

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

// stepFunc has the shape of claim.Step.
type stepFunc func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool)

// stepStore is a map of records and a step: the smallest store that there can
// be, and the body of the mutants.
type stepStore struct {
	step stepFunc
	now  func() claim.Instant

	mu      sync.Mutex
	records map[claim.Digest]claim.Record // guarded by mu

	// reversed carries batches out from the last operation to the first.
	reversed bool
	// shared gives all messages of a namespace one record, as a digest would that
	// leaves out the id.
	shared bool
}

func newStepStore(step stepFunc, now func() claim.Instant) *stepStore {
	return &stepStore{step: step, now: now, records: map[claim.Digest]claim.Record{}}
}

func (s *stepStore) Apply(_ context.Context, ops []*claim.Op) {
	for i := range ops {
		if s.reversed {
			i = len(ops) - 1 - i
		}
		s.apply(ops[i])
	}
}

func (s *stepStore) apply(op *claim.Op) {
	if err := op.Validate(); err != nil {
		op.Fail(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := s.digest(op.Key)
	next, write := s.step(s.records[digest], op, s.now())
	if write {
		next.Result = bytes.Clone(next.Result)
		s.records[digest] = next
	}
	if op.Err != nil {
		op.Fail(op.Err)
	}
}

func (s *stepStore) digest(key claim.Key) claim.Digest {
	if !s.shared {
		return key.Digest()
	}
	all, err := claim.NewKey(key.Namespace(), key.Consumer(), "all")
	if err != nil {
		panic(err)
	}
	return all.Digest()
}

func (s *stepStore) TryClaim(_ context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	s.apply(&op)
	return op.Verdict, op.Err
}

func (s *stepStore) Extend(_ context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	s.apply(&op)
	return op.Err
}

func (s *stepStore) MarkDone(_ context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c}
	s.apply(&op)
	return op.Recovered, op.Err
}

func (s *stepStore) MarkDead(_ context.Context, key claim.Key, g claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}
	s.apply(&op)
	return op.Err
}

func (s *stepStore) Release(_ context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}
	s.apply(&op)
	return op.Err
}

func (s *stepStore) Forget(_ context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(&op)
	return op.Err
}

func (s *stepStore) Revive(_ context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(&op)
	return op.Err
}

func (s *stepStore) Get(_ context.Context, key claim.Key) (claim.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := claim.Entry{Digest: key.Digest(), Now: s.now()}
	if rec := s.records[s.digest(key)]; entry.Now < rec.Expires {
		entry.Record = rec
	}
	return entry, nil
}

func (s *stepStore) List(context.Context, claim.Filter, string, int) ([]claim.Entry, string, error) {
	return nil, "", nil // no sequence lists
}

// fakeClock stands still unless it is told to move.
type fakeClock struct {
	mu  sync.Mutex
	now claim.Instant
}

func newFakeClock() *fakeClock { return &fakeClock{now: 1_771_000_000_123_456} }

func (c *fakeClock) Now() claim.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// realClock is a clock that must be waited for.
type realClock struct{ start time.Time }

func (c realClock) Now() claim.Instant {
	return claim.Instant(c.start.UnixMicro()).Add(time.Since(c.start))
}

func (c realClock) Advance(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// onFakeClock is a harness of a store that makes steps.
func onFakeClock(step stepFunc) *claimtest.Harness {
	clock := newFakeClock()
	return &claimtest.Harness{Store: newStepStore(step, clock.Now), Advance: clock.Advance, Unit: time.Second}
}

func onRealClock(step stepFunc) *claimtest.Harness {
	clock := realClock{time.Now()}
	return &claimtest.Harness{Store: newStepStore(step, clock.Now), Advance: clock.Advance, Unit: 5 * time.Millisecond, Parallel: true}
}

func TestStepOnFakeClock(t *testing.T) {
	Run(t, func(testing.TB) *claimtest.Harness { return onFakeClock(claim.Step) })
}

func TestStepOnRealClock(t *testing.T) {
	Run(t, func(testing.TB) *claimtest.Harness { return onRealClock(claim.Step) })
}

// A store needs to be neither a Batcher nor an Inspector.
func TestPlainStore(t *testing.T) {
	Run(t, func(testing.TB) *claimtest.Harness {
		h := onFakeClock(claim.Step)
		h.Store = struct{ claim.Store }{h.Store}
		return h
	})
}
