package claimtest

import (
	"context"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// lateStore is a store on a real clock whose first calls take longer than a lease.
type lateStore struct {
	*stepStore
	late *int
}

func (s lateStore) TryClaim(ctx context.Context, k claim.Key, r claim.Request) (claim.Verdict, error) {
	if *s.late > 0 {
		*s.late--
		s.advance(2 * r.TTL)
		time.Sleep(2 * lateUnit)
	}
	return s.stepStore.TryClaim(ctx, k, r)
}

const lateUnit = 5 * time.Millisecond

// A machine that stands still for longer than a lease is no fault of the store.
func TestACaseThatCameLateIsRunAgain(t *testing.T) {
	late, opened := 5, 0
	c := testCase{name: "late", why: "a claim whose lease is alive is pending", run: func(e *env) {
		key := e.key()
		e.claim(key, e.shortRequest())
		e.answers(claim.Pending, key, e.shortRequest())
	}}
	runCase(t, &c, single, func(t testing.TB) *Harness {
		opened++
		s := newStepStore(claim.Step)
		return &Harness{Store: lateStore{s, &late}, Advance: s.advance, Unit: lateUnit}
	})
	if late != 0 || opened != 3 {
		t.Errorf("opened %d times with %d late calls left, want 3 and 0", opened, late)
	}
}
