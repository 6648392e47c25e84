//go:build !race

package memstore_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
)

// A message without a result costs no allocation, nor does a duplicate.
func TestNoAllocations(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{Now: clock.Now})
	ctx := t.Context()
	k, req := key(t, "id"), request(time.Minute, time.Hour)
	// The tables have grown once the first message is through.
	if n := testing.AllocsPerRun(100, func() {
		// A fence that is ahead of the clock would be kept, and the stamp not.
		clock.Advance(time.Millisecond)
		v, err := s.TryClaim(ctx, k, req)
		if err != nil || v.Outcome != claim.Claimed {
			t.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
		}
		if _, err := s.MarkDone(ctx, k, v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if v, err := s.TryClaim(ctx, k, req); err != nil || v.Outcome != claim.Done {
			t.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
		}
		if err := s.Forget(ctx, k, claim.Record{State: claim.StateDone, Fence: v.Grant.Token.Stamp()}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
