package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// term is how long a process that vanished still counts as elected.
const term = 10 * time.Second

// lead calls work again and again in one process of those that call it, until ctx
// ends: the one that has a claim of its own, under name, which it keeps. work says
// whether there is more to do at once. Its context ends with the claim.
func (s *Store) lead(ctx context.Context, name string, every time.Duration, logger *slog.Logger, work func(ctx context.Context) (more bool, err error)) error {
	key, err := claim.NewKey("once", name, claim.MessageID(s.prefix))
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		req := claim.Request{Token: claim.NewToken(), TTL: term, Retention: term}
		v, err := s.TryClaim(ctx, key, req)
		switch {
		case err == nil && v.Outcome == claim.Claimed:
			s.reign(ctx, key, v.Grant, every, logger, work)
		case err != nil && ctx.Err() == nil:
			logger.Warn("sqlstore: no election", "of", name, "error", err)
			wait(ctx, every)
		default:
			wait(ctx, max(min(v.Remaining, every), time.Millisecond))
		}
	}
	return nil
}

// reign calls work for as long as the grant holds.
func (s *Store) reign(ctx context.Context, key claim.Key, g claim.Grant, every time.Duration, logger *slog.Logger, work func(context.Context) (bool, error)) {
	held, end := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		defer end()
		for last := time.Now(); time.Since(last) < term/2; {
			if !wait(held, term/5) {
				return
			}
			began := time.Now()
			extend, cancel := context.WithTimeout(held, term/5)
			err := s.Extend(extend, key, g, term)
			cancel()
			if errors.Is(err, claim.ErrLost) {
				return
			}
			if err == nil {
				last = began
			}
		}
	})
	for held.Err() == nil {
		more, err := work(held)
		if err != nil && held.Err() == nil {
			logger.Warn(fmt.Sprintf("sqlstore: %s: tried again later", key.Consumer()), "error", err)
		}
		if !more || err != nil {
			wait(held, every)
		}
	}
	end()
	keeping.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.Release(leave, key, g, 0) // or others wait for the term to end
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
