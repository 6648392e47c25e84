package redisstore_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// go-redis sends what was under way to the old master once more, to the new one:
// callers see some errors that they may repeat, and never somebody else's claim
// or a claim that is lost.
func TestSentinelChangesTheMasterUnderLoad(t *testing.T) {
	for name, leave := range map[string]func(*redistest.Sentinel){
		"an operator's switch": func(s *redistest.Sentinel) { s.Switch() },
		"a killed master":      func(s *redistest.Sentinel) { s.Primary.Kill(); s.AwaitFailover() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.StartSentinel(t)
			store := newStore(t, s.Client(), &redisstore.Options{Prefix: fresh("once:")})
			var finished, recovered, refused atomic.Int64
			stubborn := func(f func(ctx context.Context) error) error {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					err := f(ctx)
					cancel()
					if !errors.Is(err, claim.ErrUnavailable) && !errors.Is(err, claim.ErrUnknown) || t.Context().Err() != nil {
						return err
					}
					refused.Add(1)
				}
			}
			message := func() {
				key, req := newKey(t), newRequest()
				var v claim.Verdict
				err := stubborn(func(ctx context.Context) (err error) {
					v, err = store.TryClaim(ctx, key, req)
					return err
				})
				if err != nil || v.Outcome != claim.Claimed || v.Grant.Attempt != 1 {
					t.Errorf("%v, attempt %d, error %v; want Claimed", v.Outcome, v.Grant.Attempt, err)
					return
				}
				var lost bool // the claim, by the store
				err = stubborn(func(ctx context.Context) (err error) {
					lost, err = store.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Minute})
					return err
				})
				if err != nil {
					t.Errorf("a claim that nobody else wants cannot be finished: %v", err)
				}
				if lost {
					recovered.Add(1)
				}
				finished.Add(1)
			}
			stop := make(chan struct{})
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							message()
						}
					}
				})
			}
			leave(s)
			before := finished.Load()
			for finished.Load() < before+100 && !t.Failed() {
				s.Advance(time.Millisecond)
			}
			close(stop)
			callers.Wait()
			t.Logf("%d messages, %d claims lost by the store, %d calls repeated", finished.Load(), recovered.Load(), refused.Load())
		})
	}
}
