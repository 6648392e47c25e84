package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
)

func key(t testing.TB, id string) claim.Key {
	t.Helper()
	k, err := claim.NewKey("", "consumer", claim.MessageID(id))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(ttl, retention time.Duration) claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: ttl, Retention: retention}
}

// claimed claims a key that must be claimable.
func claimed(t testing.TB, s *memstore.Store, k claim.Key, req claim.Request) claim.Grant {
	t.Helper()
	v, err := s.TryClaim(t.Context(), k, req)
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("TryClaim: %v, error %v; want claimed", v.Outcome, err)
	}
	return v.Grant
}

func finish(t testing.TB, s *memstore.Store, k claim.Key, g claim.Grant, c claim.Completion) {
	t.Helper()
	if _, err := s.MarkDone(t.Context(), k, g, c); err != nil {
		t.Fatal(err)
	}
}

// fill claims keys until the store is full and returns their grants.
func fill(t testing.TB, s *memstore.Store, ttl, retention time.Duration) map[claim.Key]claim.Grant {
	t.Helper()
	grants := map[claim.Key]claim.Grant{}
	for i := 0; ; i++ {
		k := key(t, fmt.Sprintf("fill-%d", i))
		v, err := s.TryClaim(t.Context(), k, request(ttl, retention))
		switch {
		case errors.Is(err, claim.ErrUnavailable):
			if !strings.Contains(err.Error(), "memstore: full") || v.Outcome != 0 {
				t.Fatalf("full: %+v, error %v", v, err)
			}
			return grants
		case err != nil || v.Outcome != claim.Claimed:
			t.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
		case i > 1_000_000:
			t.Fatal("the store is never full")
		}
		grants[k] = v.Grant
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		opts memstore.Options
	}{
		{"MaxRecords", memstore.Options{MaxRecords: -1}},
		{"MaxRecords", memstore.Options{MaxRecords: 1<<31 - 1}},
		{"MaxBytes", memstore.Options{MaxBytes: -1}},
		{"Shards", memstore.Options{Shards: -1}},
		{"Shards", memstore.Options{Shards: 1<<16 + 1}},
	} {
		s, err := memstore.New(&c.opts)
		if err == nil || s != nil || !strings.Contains(err.Error(), "Options."+c.name) {
			t.Errorf("New(%+v): error %v, want one that names %s", c.opts, err, c.name)
		}
	}
	opts := memstore.Options{}
	mustNew(t, &opts)
	if opts.MaxRecords != 0 || opts.Now != nil {
		t.Error("New wrote its defaults into the caller's Options")
	}
}

func TestMaxRecords(t *testing.T) {
	for _, shards := range []int{1, 64} {
		s := mustNew(t, &memstore.Options{MaxRecords: 10, Shards: shards, Now: newFakeClock().Now})
		if n := len(fill(t, s, time.Minute, time.Hour)); n != 10 {
			t.Errorf("%d shards: full after %d records, want 10", shards, n)
		}
	}
}

func TestMaxBytes(t *testing.T) {
	s := mustNew(t, &memstore.Options{MaxBytes: 64 << 10, Now: newFakeClock().Now})
	if n := len(fill(t, s, time.Minute, time.Hour)); n < 150 || n > 256 {
		t.Errorf("full after %d pending records, want about 64 KiB of them", n)
	}
}

// A full store goes on with the records that it has.
func TestFullStoreServes(t *testing.T) {
	s := mustNew(t, &memstore.Options{MaxRecords: 5, MaxBytes: 5 * 400, Now: newFakeClock().Now})
	ctx := t.Context()
	steps := []func(k claim.Key, g claim.Grant) error{
		func(k claim.Key, g claim.Grant) error { return s.Extend(ctx, k, g, time.Minute) },
		func(k claim.Key, g claim.Grant) error {
			_, err := s.MarkDone(ctx, k, g, claim.Completion{Retention: time.Hour})
			return err
		},
		func(k claim.Key, g claim.Grant) error {
			return s.MarkDead(ctx, k, g, strings.Repeat("r", claim.MaxReasonBytes))
		},
		func(k claim.Key, g claim.Grant) error { return s.Release(ctx, k, g, 0) },
		func(k claim.Key, g claim.Grant) error {
			_, err := s.MarkDone(ctx, k, g, claim.Completion{Retention: time.Hour, Result: make([]byte, 100_000)})
			return err
		},
	}
	i := 0
	for k, g := range fill(t, s, time.Minute, time.Hour) {
		if err := steps[i](k, g); err != nil {
			t.Errorf("step %d in a full store: %v", i, err)
		}
		if i == 4 {
			v, err := s.TryClaim(ctx, k, request(time.Minute, time.Hour))
			if err != nil || v.Outcome != claim.Done || !v.Omitted || v.Result != nil {
				t.Errorf("a result without room: %+v, error %v; want done, with the result omitted", v, err)
			}
		}
		i++
	}
	if i != len(steps) {
		t.Fatalf("%d records, want %d", i, len(steps))
	}
	if _, err := s.TryClaim(ctx, key(t, "new"), request(time.Minute, time.Hour)); !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("TryClaim of a new key: error %v, want ErrUnavailable", err)
	}
	if err := s.Release(ctx, key(t, "newer"), claim.Grant{Token: claim.NewToken()}, 0); !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("Release of an absent key: error %v, want ErrUnavailable", err)
	}
}

// Records that are over make room, in whatever shard they are.
func TestExpiredRecordsMakeRoom(t *testing.T) {
	for _, shards := range []int{1, 3, 64} {
		clock := newFakeClock()
		s := mustNew(t, &memstore.Options{MaxRecords: 100, Shards: shards, Now: clock.Now})
		for round := range 5 {
			if n := len(fill(t, s, time.Second, time.Second)); n != 100 {
				t.Fatalf("%d shards, round %d: room for %d records, want 100", shards, round, n)
			}
			clock.Advance(2 * time.Second)
		}
	}
}

func TestLiveRecordsAreNotEvicted(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{MaxRecords: 50, Now: clock.Now})
	grants := fill(t, s, time.Minute, time.Hour)
	clock.Advance(30 * time.Minute)
	for k, g := range grants {
		finish(t, s, k, g, claim.Completion{Retention: time.Hour})
	}
	for i := range 1000 {
		_, err := s.TryClaim(t.Context(), key(t, fmt.Sprintf("flood-%d", i)), request(time.Minute, time.Hour))
		if !errors.Is(err, claim.ErrUnavailable) {
			t.Fatalf("error %v, want ErrUnavailable", err)
		}
	}
	for k := range grants {
		if v, err := s.TryClaim(t.Context(), k, request(time.Minute, time.Hour)); err != nil || v.Outcome != claim.Done {
			t.Fatalf("%v, error %v; want done", v.Outcome, err)
		}
	}
}

// A fence rises even where the record is gone and the clock does not move, or
// moves back.
func TestFenceSurvivesTheRecord(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, &memstore.Options{Now: clock.Now})
	k := key(t, "id")
	last := claimed(t, s, k, request(time.Minute, time.Hour)).Fence
	next := func(what string) {
		t.Helper()
		g := claimed(t, s, k, request(time.Minute, time.Hour))
		if g.Fence <= last {
			t.Errorf("%s: fence %d, want more than %d", what, g.Fence, last)
		}
		last = g.Fence
	}
	if err := s.Forget(t.Context(), k, claim.Record{State: claim.StatePending, Fence: last}); err != nil {
		t.Fatal(err)
	}
	next("forgotten")
	clock.Advance(2 * time.Hour)
	next("retention over")
	if err := s.Forget(t.Context(), k, claim.Record{State: claim.StatePending, Fence: last}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(-24 * time.Hour)
	next("clock a day back")
}

// A store on the real clock tells real time.
func TestDefaultClock(t *testing.T) {
	s := mustNew(t, nil)
	k := key(t, "id")
	before := time.Now()
	g := claimed(t, s, k, request(time.Minute, time.Hour))
	entry, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	granted := time.UnixMicro(int64(g.Fence))
	if granted.Before(before.Add(-time.Second)) || granted.After(time.Now().Add(time.Second)) {
		t.Errorf("the fence is %v, want about %v", granted, before)
	}
	if lease := entry.Deadline.Sub(entry.Now); lease <= 0 || lease > time.Minute {
		t.Errorf("%v of the lease left, want at most a minute", lease)
	}
}

func TestInspectorChecksArguments(t *testing.T) {
	s := mustNew(t, nil)
	if _, err := s.Get(t.Context(), claim.Key{}); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("Get of the zero key: error %v, want ErrInvalid", err)
	}
	for _, cursor := range []string{"x", "1", "1.", ".1", "-1.0", "64.0", "0.-1", "99999999999.1", "0.1.2"} {
		if _, _, err := s.List(t.Context(), claim.Filter{}, cursor, 1); !errors.Is(err, claim.ErrInvalid) {
			t.Errorf("List from %q: error %v, want ErrInvalid", cursor, err)
		}
	}
	if _, _, err := s.List(t.Context(), claim.Filter{}, "", 0); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("List with limit 0: error %v, want ErrInvalid", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, key(t, "id")); !errors.Is(err, context.Canceled) || !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("Get with a cancelled context: error %v", err)
	}
	if _, _, err := s.List(ctx, claim.Filter{}, "", 1); !errors.Is(err, context.Canceled) || !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("List with a cancelled context: error %v", err)
	}
}

// A page looks at a bounded number of records, so that it may be empty, and the
// listing still ends.
func TestListGoesOnAfterEmptyPages(t *testing.T) {
	s := mustNew(t, &memstore.Options{Shards: 1})
	for i := range 10_000 {
		k := key(t, fmt.Sprint(i))
		g := claimed(t, s, k, request(time.Minute, time.Hour))
		if i%5_000 != 4_999 {
			finish(t, s, k, g, claim.Completion{Retention: time.Hour})
		}
	}
	found, pages, cursor := 0, 0, ""
	for {
		page, next, err := s.List(t.Context(), claim.Filter{State: claim.StatePending}, cursor, 10)
		if err != nil {
			t.Fatal(err)
		}
		found += len(page)
		pages++
		if next == "" {
			break
		}
		cursor = next
	}
	if found != 2 || pages < 3 {
		t.Errorf("%d records in %d pages, want 2 in at least 3", found, pages)
	}
}
