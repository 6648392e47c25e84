package memstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/sequences"
)

// positionsHarness is a harness for keys with places.
func positionsHarness(t testing.TB) *claimtest.Harness {
	clock := newFakeClock()
	store := mustNew(t, &memstore.Options{Now: clock.Now, Positions: true})
	return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second, Places: true}
}

func TestPositionsContract(t *testing.T) { claimtest.Run(t, positionsHarness) }

func TestPositionsRandomSequences(t *testing.T) { sequences.Run(t, positionsHarness) }

// placed returns the key of a position.
func placed(t testing.TB, log string, n uint64) claim.Key {
	t.Helper()
	k, err := claim.NewKey("", "billing", claim.MessageID(fmt.Sprintf("%s:%d", log, n)))
	if err != nil {
		t.Fatal(err)
	}
	return k.At(claim.Place{Log: log, Sequence: n})
}

func try(t testing.TB, s *memstore.Store, k claim.Key) claim.Verdict {
	t.Helper()
	v, err := s.TryClaim(t.Context(), k, claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func complete(t testing.TB, s *memstore.Store, k claim.Key, retention time.Duration) {
	t.Helper()
	v := try(t, s, k)
	if _, err := s.MarkDone(t.Context(), k, v.Grant, claim.Completion{Retention: retention}); err != nil {
		t.Fatal(err)
	}
}

// A store with room for a few records remembers many positions, and has its room
// again when they end.
func TestPositionsTakeNoRecords(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{Now: clock.Now, Positions: true, MaxRecords: 10, MaxBytes: 4000, Shards: 4})
	const n = 8500 // two chunks of 1,512 bytes
	for round := range 3 {
		log := fmt.Sprint("log ", round)
		for i := range uint64(n) {
			complete(t, s, placed(t, log, i), time.Hour)
		}
		for i := range uint64(n) {
			if v := try(t, s, placed(t, log, i)); v.Outcome != claim.Done || v.Remaining <= 0 {
				t.Fatalf("position %d is %v", i, v.Outcome)
			}
		}
		if v := try(t, s, placed(t, log, n)); v.Outcome != claim.Claimed {
			t.Errorf("a position that was never done is %v", v.Outcome)
		}
		clock.Advance(2 * time.Hour)
		if v := try(t, s, placed(t, log, 0)); v.Outcome != claim.Claimed {
			t.Errorf("a position whose retention is over is %v", v.Outcome)
		}
		clock.Advance(2 * time.Hour)
	}
}

// Neighbours end together, with the last of them.
func TestAChunkEndsWithItsLastPosition(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{Now: clock.Now, Positions: true})
	complete(t, s, placed(t, "log", 1), time.Minute)
	complete(t, s, placed(t, "log", 2), time.Hour)
	complete(t, s, placed(t, "log", 8001), time.Minute)
	clock.Advance(2 * time.Minute)
	if v := try(t, s, placed(t, "log", 1)); v.Outcome != claim.Done || v.Remaining < 58*time.Minute {
		t.Errorf("%v for %v, want done for 58m at least", v.Outcome, v.Remaining)
	}
	if v := try(t, s, placed(t, "log", 8001)); v.Outcome != claim.Claimed {
		t.Errorf("one of another chunk is %v", v.Outcome)
	}
}

// Without room for a chunk a completion is a record, and what is done is done.
func TestACompletionWithoutRoomForAChunkIsARecord(t *testing.T) {
	s := mustNew(t, &memstore.Options{Positions: true, MaxBytes: 1000})
	k := placed(t, "log", 1)
	complete(t, s, k, time.Hour)
	if v := try(t, s, k); v.Outcome != claim.Done {
		t.Errorf("%v", v.Outcome)
	}
	e, err := s.Get(t.Context(), k)
	if err != nil || e.Fence == 0 {
		t.Errorf("fence %d, error %v; want a record, which has one", e.Fence, err)
	}
}

// A bit cannot tell whose it is: what is done is done.
func TestAStaleOwnerOfADonePlaceIsToldThatItIsDone(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{Now: clock.Now, Positions: true})
	k := placed(t, "log", 42)
	stale := try(t, s, k).Grant
	clock.Advance(2 * time.Minute)
	complete(t, s, k, time.Hour)
	if recovered, err := s.MarkDone(t.Context(), k, stale, claim.Completion{Retention: time.Hour}); err != nil || recovered {
		t.Errorf("recovered %v, error %v; want neither", recovered, err)
	}
	if err := s.Extend(t.Context(), k, stale, time.Minute); !errors.Is(err, claim.ErrLost) {
		t.Errorf("Extend: error %v, want ErrLost", err)
	}
	entry, err := s.Get(t.Context(), k)
	if err != nil || entry.State != claim.StateDone || entry.Fence != 0 {
		t.Errorf("%v with fence %d, error %v", entry.State, entry.Fence, err)
	}
	if err := s.Forget(t.Context(), k, entry.Record); err != nil {
		t.Error(err)
	}
	if v := try(t, s, k); v.Outcome != claim.Claimed || v.Grant.Fence <= stale.Fence {
		t.Errorf("%v with fence %d after it was forgotten, want a claim above %d", v.Outcome, v.Grant.Fence, stale.Fence)
	}
}
