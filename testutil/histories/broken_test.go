package histories_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// applyFunc is a claim.Store made of one function.
type applyFunc func(ctx context.Context, op *claim.Op)

func (f applyFunc) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	f(ctx, &op)
	return op.Verdict, op.Err
}

func (f applyFunc) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	f(ctx, &op)
	return op.Err
}

func (f applyFunc) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c}
	f(ctx, &op)
	return op.Recovered, op.Err
}

func (f applyFunc) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}
	f(ctx, &op)
	return op.Err
}

func (f applyFunc) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}
	f(ctx, &op)
	return op.Err
}

// stepFunc has the shape of claim.Step.
type stepFunc func(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool)

// records is a map of records under one lock.
type records struct {
	start time.Time

	mu   sync.Mutex
	rng  *rand.Rand
	recs map[claim.Key]claim.Record
}

func newRecords() *records {
	return &records{start: time.Now(), rng: rand.New(rand.NewPCG(1, 2)), recs: map[claim.Key]claim.Record{}}
}

func (s *records) now() claim.Instant {
	return claim.Instant(s.start.UnixMicro()).Add(time.Since(s.start))
}

// chance is true once in n times.
func (s *records) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n) == 0
}

func (s *records) load(key claim.Key) claim.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recs[key]
}

func (s *records) save(key claim.Key, rec claim.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec.Result = bytes.Clone(rec.Result)
	s.recs[key] = rec
}

// stepped is a store that makes atomic steps.
func stepped(step stepFunc) applyFunc {
	s := newRecords()
	return func(_ context.Context, op *claim.Op) {
		s.mu.Lock()
		defer s.mu.Unlock()
		next, write := step(s.recs[op.Key], op, s.now())
		if write {
			next.Result = bytes.Clone(next.Result)
			s.recs[op.Key] = next
		}
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

// torn reads, steps and writes, each under the lock, and others between them.
func torn() applyFunc {
	s := newRecords()
	return func(_ context.Context, op *claim.Op) {
		next, write := claim.Step(s.load(op.Key), op, s.now())
		runtime.Gosched()
		if write {
			s.save(op.Key, next)
		}
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

// tornAt is torn for operations of one kind alone.
func tornAt(kind claim.OpKind) applyFunc {
	s := newRecords()
	return func(_ context.Context, op *claim.Op) {
		rec, between := s.load(op.Key), op.Kind == kind
		if between {
			runtime.Gosched()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !between {
			rec = s.recs[op.Key]
		}
		next, write := claim.Step(rec, op, s.now())
		if write {
			next.Result = bytes.Clone(next.Result)
			s.recs[op.Key] = next
		}
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

// setNX is what everybody writes first: SET NX, one value while the handler runs
// and another behind it, and no comparison of tokens.
func setNX() applyFunc {
	s := newRecords()
	return func(_ context.Context, op *claim.Op) {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.now()
		rec := s.recs[op.Key]
		if now >= rec.Expires {
			rec = claim.Record{}
		}
		switch op.Kind {
		case claim.OpTryClaim:
			switch rec.State {
			case claim.StateAbsent:
				s.recs[op.Key] = claim.Record{State: claim.StatePending, Expires: now.Add(op.Request.TTL)}
				op.Verdict = claim.Verdict{Outcome: claim.Claimed, Remaining: op.Request.TTL,
					Grant: claim.Grant{Token: op.Request.Token, Fence: uint64(now), Attempt: 1}}
			case claim.StateDone:
				op.Verdict = claim.Verdict{Outcome: claim.Done, Remaining: rec.Expires.Sub(now), Result: rec.Result}
			default:
				op.Verdict = claim.Verdict{Outcome: claim.Pending, Remaining: rec.Expires.Sub(now)}
			}
		case claim.OpExtend:
			rec.Expires = now.Add(op.TTL)
			s.recs[op.Key] = rec
		case claim.OpMarkDone:
			s.recs[op.Key] = claim.Record{State: claim.StateDone, Expires: now.Add(op.Completion.Retention), Result: op.Completion.Result}
		case claim.OpMarkDead:
			s.recs[op.Key] = claim.Record{State: claim.StateDone, Expires: now.Add(time.Hour)}
		case claim.OpRelease:
			delete(s.recs, op.Key)
		}
	}
}

// lying carries out what it says it did not: one operation in ten, of a kind, is
// answered ErrUnavailable and takes effect.
func lying(kind claim.OpKind) applyFunc {
	inner, s := stepped(claim.Step), newRecords()
	return func(ctx context.Context, op *claim.Op) {
		inner(ctx, op)
		if op.Kind == kind && s.chance(10) {
			op.Fail(claim.Unavailable(nil))
		}
	}
}

// forgetful loses one write in twenty that it has confirmed.
func forgetful() applyFunc {
	s := newRecords()
	return func(_ context.Context, op *claim.Op) {
		s.mu.Lock()
		defer s.mu.Unlock()
		next, write := claim.Step(s.recs[op.Key], op, s.now())
		if write && s.rng.IntN(20) != 0 {
			next.Result = bytes.Clone(next.Result)
			s.recs[op.Key] = next
		}
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

// stale answers one read in ten from a replica that is behind.
func stale() applyFunc {
	s := newRecords()
	old := map[claim.Key]claim.Record{}
	return func(_ context.Context, op *claim.Op) {
		s.mu.Lock()
		defer s.mu.Unlock()
		rec := s.recs[op.Key]
		if op.Kind == claim.OpTryClaim && s.rng.IntN(10) == 0 {
			if _, write := claim.Step(old[op.Key], op, s.now()); !write {
				return
			}
		}
		next, write := claim.Step(rec, op, s.now())
		if write {
			next.Result = bytes.Clone(next.Result)
			old[op.Key] = rec
			s.recs[op.Key] = next
		}
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

// forged carries out op as if it showed the token and the fence of the record.
func forged(rec claim.Record, op *claim.Op, now claim.Instant) (claim.Record, bool) {
	grant := op.Grant
	op.Grant.Token, op.Grant.Fence = rec.Token, rec.Fence
	defer func() { op.Grant = grant }()
	return claim.Step(rec, op, now)
}
