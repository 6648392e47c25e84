package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/sequences"
)

// fakeClock stands still unless it is told to move.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 3, 14, 15, 9, 26, 535_897_932, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// open opens a store on fs, which the test may close first.
func open(t testing.TB, fs vfs.FS, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 1 << 20
	}
	s, err := pebblestore.Open("claims", o.On(fs))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func harness(t testing.TB) *claimtest.Harness {
	clock := newFakeClock()
	// A short span makes records change their generation.
	store := open(t, vfs.NewMem(), pebblestore.Options{Now: clock.Now, Span: time.Minute})
	return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second}
}

func TestContract(t *testing.T)        { claimtest.Run(t, harness) }
func TestRandomSequences(t *testing.T) { sequences.Run(t, harness) }

func TestHistories(t *testing.T) {
	for name, w := range map[string]histories.Workload{
		"leases hold": {Operations: 1000, Operators: true},
		"leases end":  {Operations: 300, Lease: 12 * time.Millisecond, Pause: 4 * time.Millisecond},
		"records end": {Operations: 300, Lease: 12 * time.Millisecond, Pause: 4 * time.Millisecond, Retention: 15 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			traffic, recorder := w.Start(), histories.NewRecorder()
			clients := make([]histories.Client, 8)
			store := open(t, vfs.NewMem(), pebblestore.Options{})
			for i := range clients {
				clients[i].Store = store
			}
			recorder.Run(nil, traffic.Drive(clients...)...)
			recorder.Run(nil, traffic.Probe(clients[0]))
			histories.Check(t, recorder.History())
		})
	}
}

var ids atomic.Int64

// newKey returns a key that no other call returns.
func newKey(t testing.TB) claim.Key {
	t.Helper()
	key, err := claim.NewKey("test", "consumer", claim.MessageID(fmt.Sprintf("message-%d", ids.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRequest() claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
}

func mustClaim(t testing.TB, s *pebblestore.Store, key claim.Key) claim.Grant {
	t.Helper()
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("%v, %v; want claimed", v.Outcome, err)
	}
	return v.Grant
}

func outcome(t testing.TB, s *pebblestore.Store, key claim.Key) claim.Verdict {
	t.Helper()
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Leases go on over a restart, by the wall clock.
func TestDeadlinesSurviveARestart(t *testing.T) {
	fs, clock := vfs.NewMem(), newFakeClock()
	s := open(t, fs, pebblestore.Options{Now: clock.Now})
	running, finished := newKey(t), newKey(t)
	g := mustClaim(t, s, running)
	if _, err := s.MarkDone(t.Context(), finished, mustClaim(t, s, finished), claim.Completion{Retention: time.Hour, Result: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryClaim(t.Context(), running, newRequest()); !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("closed: %v, want ErrUnavailable", err)
	}
	clock.Advance(45 * time.Second)
	s = open(t, fs, pebblestore.Options{Now: clock.Now})
	if v := outcome(t, s, running); v.Outcome != claim.Pending || v.Remaining != 15*time.Second {
		t.Errorf("%v for %v, want pending for 15s", v.Outcome, v.Remaining)
	}
	if v := outcome(t, s, finished); v.Outcome != claim.Done || string(v.Result) != "kept" || v.Remaining != time.Hour+time.Minute-45*time.Second {
		t.Errorf("%v with %q for %v", v.Outcome, v.Result, v.Remaining)
	}
	clock.Advance(15 * time.Second)
	if v := outcome(t, s, running); !v.Takeover || v.Grant.Attempt != 2 || v.Grant.Fence <= g.Fence {
		t.Errorf("%+v, want a takeover", v)
	}
}

// Time does not run backwards, whatever happens to the wall clock meanwhile.
func TestAWallClockThatWasSetBack(t *testing.T) {
	fs, clock := vfs.NewMem(), newFakeClock()
	s := open(t, fs, pebblestore.Options{Now: clock.Now})
	key := newKey(t)
	g := mustClaim(t, s, key)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(-time.Hour)
	var log bytes.Buffer
	s = open(t, fs, pebblestore.Options{Now: clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "behind") {
		t.Errorf("logged %q, want a word about the clock", log.String())
	}
	if v := outcome(t, s, key); v.Outcome != claim.Pending || v.Remaining != time.Minute {
		t.Errorf("%v for %v, want pending for a minute", v.Outcome, v.Remaining)
	}
	clock.Advance(2 * time.Minute)
	if v := outcome(t, s, key); !v.Takeover || v.Grant.Fence <= g.Fence {
		t.Errorf("%+v, want a takeover with a higher fence", v)
	}
}

func TestOverGenerationsAreDropped(t *testing.T) {
	fs, clock := vfs.NewMem(), newFakeClock()
	s := open(t, fs, pebblestore.Options{Now: clock.Now, Span: time.Hour})
	for range 100 {
		key := newKey(t)
		if _, err := s.MarkDone(t.Context(), key, mustClaim(t, s, key), claim.Completion{Retention: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	late := newKey(t)
	mustClaim(t, s, late)
	clock.Advance(4 * time.Hour)
	mustClaim(t, s, newKey(t)) // whoever comes next drops what is over
	if n, err := s.Keys(); err != nil || n != 3 {
		t.Errorf("%d keys, %v; want the new one and two of the store's own", n, err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, &pebblestore.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, &pebblestore.Options{Logger: quiet}); !errors.Is(err, claim.ErrUnavailable) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, &pebblestore.Options{Logger: quiet, Span: time.Hour}); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Options.Span") {
		t.Errorf("another span: %v, want ErrInvalid", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]pebblestore.Options{
		"Sync": {Sync: 3}, "Span": {Span: time.Second}, "CacheBytes": {CacheBytes: 1},
	} {
		if _, err := pebblestore.Open("claims", o.On(vfs.NewMem())); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Options."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pebblestore.Open("", nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no directory: %v", err)
	}
}
