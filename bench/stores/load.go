//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

// load is how messages come: from so many callers, so many at a time.
type load struct {
	Name         string
	callers, per int
}

var (
	alone   = load{"alone", 1, 1}
	crowd   = load{"64 callers", 64, 1}
	batched = load{"batches of 100", 4, 100}
	loads   = []load{alone, crowd, batched}
)

// ids counts the messages. No id comes twice in a run.
type ids struct{ atomic.Int64 }

// key returns the key of the n-th message, whose id is as long as a UUID.
func (*ids) key(n int64) (claim.Key, error) {
	return claim.NewKey("", "bench", claim.MessageID(fmt.Sprintf("message-%028d", n)))
}

// times are how long a message is leased and remembered.
type times struct{ lease, retention time.Duration }

var lasting = times{30 * time.Second, 24 * time.Hour}

var errNotClaimed = errors.New("a message that nobody had before was not granted")

// handle claims and finishes n messages, by single operations or in two batches.
func (b *bench) handle(s store, n int, t times) error {
	if w, ok := s.(*twice); ok {
		return b.again(w.d)
	}
	first := b.ids.Add(int64(n)) - int64(n)
	request := claim.Request{TTL: t.lease, Retention: t.retention}
	done := claim.Completion{Retention: t.retention}
	if n == 1 {
		key, err := b.ids.key(first)
		if err != nil {
			return err
		}
		request.Token = claim.NewToken()
		v, err := s.TryClaim(b.ctx, key, request)
		if err == nil && v.Outcome != claim.Claimed {
			err = errNotClaimed
		}
		if err == nil {
			_, err = s.MarkDone(b.ctx, key, v.Grant, done)
		}
		return err
	}
	storage, ops := make([]claim.Op, n), make([]*claim.Op, n)
	for i := range ops {
		key, err := b.ids.key(first + int64(i))
		if err != nil {
			return err
		}
		request.Token = claim.NewToken()
		storage[i] = claim.Op{Kind: claim.OpTryClaim, Key: key, Request: request}
		ops[i] = &storage[i]
	}
	s.Apply(b.ctx, ops)
	for _, op := range ops {
		if op.Err != nil {
			return op.Err
		}
		if op.Verdict.Outcome != claim.Claimed {
			return errNotClaimed
		}
		*op = claim.Op{Kind: claim.OpMarkDone, Key: op.Key, Grant: op.Verdict.Grant, Completion: done}
	}
	s.Apply(b.ctx, ops)
	for _, op := range ops {
		if op.Err != nil {
			return op.Err
		}
	}
	return nil
}

// rate returns how many messages a second a store handled for d, after warm.
func (b *bench) rate(s store, l load, t times, warm, d time.Duration) (float64, error) {
	var handled atomic.Int64
	ctx, stop := context.WithCancelCause(b.ctx)
	defer stop(nil)
	var running sync.WaitGroup
	for range l.callers {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := b.handle(s, l.per, t); err != nil {
					stop(err)
					return
				}
				handled.Add(int64(l.per))
			}
		})
	}
	pause(ctx, warm)
	begun, from := time.Now(), handled.Load()
	pause(ctx, d)
	elapsed, n := time.Since(begun), handled.Load()-from
	stop(errOver)
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errOver) {
		return 0, cause
	}
	return float64(n) / elapsed.Seconds(), nil
}

var errOver = errors.New("the sample is over")

// fill has a store handle n messages in batches.
func (b *bench) fill(s store, n int) error {
	const per = 1000
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, batched.callers)
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			for errs[i] == nil && left.Add(-per) > -per {
				errs[i] = b.handle(s, per, lasting)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// pause returns after d or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
