package redisstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// Callers who come while others are out share their trips, unless they were told
// not to.
func TestConcurrentCallersShareTrips(t *testing.T) {
	s := redistest.StartOwn(t)
	const callers, each = 64, 20
	calls := func(o redisstore.Options) int {
		store := newStore(t, s.Client(), &o).ByScript()
		before := scriptCalls(t, s)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					v, err := store.TryClaim(t.Context(), newKey(t), newRequest())
					if err != nil || v.Outcome != claim.Claimed {
						t.Errorf("%v, error %v", v.Outcome, err)
					}
				}
			})
		}
		wg.Wait()
		return scriptCalls(t, s) - before
	}
	if n := calls(redisstore.Options{}); n > callers*each/2 {
		t.Errorf("%d script calls for %d claims of %d callers, want far fewer", n, callers*each, callers)
	}
	if n := calls(redisstore.Options{NoCombining: true}); n != callers*each {
		t.Errorf("%d script calls for %d claims without combining, want one each", n, callers*each)
	}
}

// scriptCalls returns how many script calls by digest the server has seen.
func scriptCalls(t testing.TB, s *redistest.Server) int {
	return evalshas(t, &redistest.Cluster{Nodes: []*redistest.Server{s}})
}

// A client whose callers give up one after the other: each says what it knows of
// its own operation, and who stays has an answer.
func TestCallersLeaveAFlightThatHangs(t *testing.T) {
	s := redistest.StartOwn(t)
	store := newStore(t, s.Client(), nil).OneFlight(t)
	claimed(t, store, newKey(t), newRequest())
	s.Stop()
	var left, stayed sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	const callers = 20
	type call struct {
		key claim.Key
		req claim.Request
	}
	leavers := make([]call, callers)
	errs := make([]error, callers)
	for i := range leavers {
		leavers[i] = call{newKey(t), newRequest()}
		left.Go(func() { _, errs[i] = store.TryClaim(ctx, leavers[i].key, leavers[i].req) })
		stayed.Go(func() {
			v, err := store.TryClaim(t.Context(), newKey(t), newRequest())
			if err != nil || v.Outcome != claim.Claimed {
				t.Errorf("a caller who stayed: %v, error %v", v.Outcome, err)
			}
		})
	}
	leave()
	left.Wait()
	s.Cont()
	stayed.Wait()
	for i, l := range leavers {
		if !errors.Is(errs[i], claim.ErrUnknown) && !errors.Is(errs[i], claim.ErrUnavailable) {
			t.Errorf("a caller who left: error %v", errs[i])
		}
		if v, err := store.TryClaim(t.Context(), l.key, l.req); err != nil || v.Outcome != claim.Claimed || v.Grant.Attempt != 1 {
			t.Errorf("its claim repeated: %+v, error %v", v, err)
		}
	}
}
