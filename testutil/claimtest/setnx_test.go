package claimtest

import (
	"context"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// setNX is the sixty lines that everybody writes: a key that is set if it was
// not there, with one value while the handler runs and another after it. Its
// calls are checked as they should be, so that it fails for what it is.
type setNX struct {
	mu   sync.Mutex
	now  claim.Instant
	keys map[claim.Digest]setNXValue
}

type setNXValue struct {
	done    bool
	expires claim.Instant
}

func newSetNX() *setNX {
	return &setNX{now: 1_784_000_000_123_456, keys: map[claim.Digest]setNXValue{}}
}

func (s *setNX) harness() *Harness {
	return &Harness{Store: s, Advance: s.advance, Unit: time.Second}
}

func (s *setNX) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// do validates, then runs fn with the lock held.
func (s *setNX) do(ctx context.Context, op *claim.Op, fn func(v setNXValue)) {
	if err := ctx.Err(); err != nil {
		op.Fail(claim.Unavailable(err))
		return
	}
	if err := op.Validate(); err != nil {
		op.Fail(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.keys[op.Key.Digest()]
	if s.now >= v.expires {
		v = setNXValue{}
	}
	fn(v)
}

// TryClaim is SET key running NX PX ttl.
func (s *setNX) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	s.do(ctx, &op, func(v setNXValue) {
		switch remaining := v.expires.Sub(s.now); {
		case v.expires == 0:
			s.keys[key.Digest()] = setNXValue{expires: s.now.Add(req.TTL)}
			op.Verdict = claim.Verdict{Outcome: claim.Claimed, Remaining: req.TTL,
				Grant: claim.Grant{Token: req.Token, Fence: uint64(s.now), Attempt: 1}}
		case v.done:
			op.Verdict = claim.Verdict{Outcome: claim.Done, Remaining: remaining}
		default:
			op.Verdict = claim.Verdict{Outcome: claim.Pending, Remaining: remaining}
		}
	})
	return op.Verdict, op.Err
}

// Extend is PEXPIRE key ttl.
func (s *setNX) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	s.do(ctx, &op, func(v setNXValue) {
		if v.expires != 0 {
			s.keys[key.Digest()] = setNXValue{done: v.done, expires: s.now.Add(ttl)}
		}
	})
	return op.Err
}

// MarkDone is SET key done PX retention.
func (s *setNX) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c}
	s.do(ctx, &op, func(setNXValue) {
		s.keys[key.Digest()] = setNXValue{done: true, expires: s.now.Add(c.Retention)}
	})
	return false, op.Err
}

// MarkDead is MarkDone: such code knows no dead messages.
func (s *setNX) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, _ string) error {
	_, err := s.MarkDone(ctx, key, g, claim.Completion{Retention: time.Hour})
	return err
}

// Release is DEL key.
func (s *setNX) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}
	s.do(ctx, &op, func(setNXValue) { delete(s.keys, key.Digest()) })
	return op.Err
}
