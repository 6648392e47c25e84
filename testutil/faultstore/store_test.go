package faultstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/faultstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t testing.TB) (*faultstore.Store, *memstore.Store) {
	t.Helper()
	inner, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return faultstore.New(inner), inner
}

func key(t testing.TB, id string) claim.Key {
	t.Helper()
	k, err := claim.NewKey("", "consumer", claim.MessageID(id))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request() claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
}

var completion = claim.Completion{Retention: time.Hour}

// claimed claims k past all rules.
func claimed(t testing.TB, s claim.Store, k claim.Key) claim.Grant {
	t.Helper()
	v, err := s.TryClaim(context.Background(), k, request())
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("TryClaim: %v, error %v; want claimed", v.Outcome, err)
	}
	return v.Grant
}

func state(t testing.TB, i claim.Inspector, k claim.Key) claim.State {
	t.Helper()
	entry, err := i.Get(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	return entry.State
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// Without rules a Store is a store like any other.
func TestContract(t *testing.T) {
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		var mu sync.Mutex
		now := time.UnixMicro(1_784_000_000_123_456)
		inner, err := memstore.New(&memstore.Options{Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}})
		if err != nil {
			t.Fatal(err)
		}
		return &claimtest.Harness{Store: faultstore.New(inner), Unit: time.Second, Advance: func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(d)
		}}
	})
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault faultstore.Fault
		err   error
		state claim.State // of a key that was pending when MarkDone was sent
	}{
		{faultstore.None, nil, claim.StateDone},
		{faultstore.Fail, claim.ErrUnavailable, claim.StatePending},
		{faultstore.LoseRequest, claim.ErrUnknown, claim.StatePending},
		{faultstore.LoseReply, claim.ErrUnknown, claim.StateDone},
		{faultstore.Twice, nil, claim.StateDone},
	} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, batch %v", c.fault, batch), func(t *testing.T) {
				s, inner := newStore(t)
				k := key(t, "id")
				op := claim.Op{Kind: claim.OpMarkDone, Key: k, Grant: claimed(t, inner, k), Completion: completion}
				s.On(claim.OpMarkDone, c.fault, 1)
				for i := range 2 {
					if batch {
						s.Apply(t.Context(), []*claim.Op{&op})
					} else {
						_, op.Err = s.MarkDone(t.Context(), k, op.Grant, completion)
					}
					want := c.err
					if i > 0 {
						want = nil // the rule is used up
					}
					if want == nil && op.Err != nil || want != nil && !errors.Is(op.Err, want) {
						t.Fatalf("call %d: error %v, want %v", i, op.Err, want)
					}
					if got := state(t, inner, k); i == 0 && got != c.state {
						t.Fatalf("the record is %v, want %v", got, c.state)
					}
				}
				calls := s.Calls()
				if len(calls) != 2 || calls[0].Fault != c.fault || calls[1].Fault != faultstore.None || calls[0].Op.Key != k {
					t.Errorf("history: %+v", calls)
				}
			})
		}
	}
}

// A repetition that the network makes gets the same answer as the first.
func TestTwice(t *testing.T) {
	s, _ := newStore(t)
	s.On(faultstore.Any, faultstore.Twice, faultstore.Always)
	g := claimed(t, s, key(t, "id"))
	if g.Attempt != 1 {
		t.Errorf("attempt %d, want 1", g.Attempt)
	}
	if recovered, err := s.MarkDone(t.Context(), key(t, "id"), g, completion); err != nil || recovered {
		t.Errorf("recovered %v, error %v", recovered, err)
	}
}

func TestRulesInOrder(t *testing.T) {
	s, _ := newStore(t)
	s.On(claim.OpTryClaim, faultstore.None, 1)
	s.Answer(claim.OpTryClaim, claim.Corrupt("scripted"), 1)
	s.On(faultstore.Any, faultstore.Fail, faultstore.Always)
	want := []error{nil, claim.ErrCorrupt, claim.ErrUnavailable, claim.ErrUnavailable}
	for i, want := range want {
		_, err := s.TryClaim(t.Context(), key(t, "id"), request())
		if want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Fatalf("call %d: error %v, want %v", i, err, want)
		}
	}
	wantErr(t, s.Extend(t.Context(), key(t, "id"), claim.Grant{Token: claim.NewToken(), Fence: 1}, time.Minute), claim.ErrUnavailable)
	if n := s.Count(claim.OpTryClaim); n != 4 {
		t.Errorf("%d claims counted, want 4", n)
	}
	if n := s.Count(faultstore.Any); n != 5 {
		t.Errorf("%d operations counted, want 5", n)
	}
	s.Reset()
	claimed(t, s, key(t, "other"))
}

// Faults strike the operations of a batch one by one.
func TestFaultsInBatch(t *testing.T) {
	s, inner := newStore(t)
	s.On(claim.OpTryClaim, faultstore.None, 1)
	s.On(claim.OpTryClaim, faultstore.LoseReply, 1)
	s.On(claim.OpTryClaim, faultstore.Fail, 1)
	var ops []*claim.Op
	for i := range 4 {
		ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: key(t, fmt.Sprint(i)), Request: request()})
	}
	s.Apply(t.Context(), ops)
	for i, want := range []struct {
		err   error
		state claim.State
	}{{nil, claim.StatePending}, {claim.ErrUnknown, claim.StatePending}, {claim.ErrUnavailable, claim.StateAbsent}, {nil, claim.StatePending}} {
		if want.err == nil && ops[i].Err != nil || want.err != nil && !errors.Is(ops[i].Err, want.err) {
			t.Errorf("operation %d: error %v, want %v", i, ops[i].Err, want.err)
		}
		if got := state(t, inner, ops[i].Key); got != want.state {
			t.Errorf("operation %d: the record is %v, want %v", i, got, want.state)
		}
	}
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner := newStore(t)
		s.On(claim.OpTryClaim, faultstore.Block, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := s.TryClaim(ctx, key(t, "id"), request())
		wantErr(t, err, claim.ErrUnknown)
		wantErr(t, err, context.DeadlineExceeded)
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("returned after %v, want 3s", d)
		}
		if got := state(t, inner, key(t, "id")); got != claim.StateAbsent {
			t.Errorf("the record is %v, want absent", got)
		}
	})
}

// A held operation goes on when it is released in time.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner := newStore(t)
		k := key(t, "id")
		g := claimed(t, s, k)
		release := s.Hold(claim.OpMarkDone)
		done := make(chan error)
		go func() {
			_, err := s.MarkDone(t.Context(), k, g, completion)
			done <- err
		}()
		synctest.Wait()
		if got := state(t, inner, k); got != claim.StatePending || s.Held() != 1 {
			t.Fatalf("while held: the record is %v, %d held", got, s.Held())
		}
		// Other kinds pass.
		if err := s.Extend(t.Context(), k, g, time.Minute); err != nil {
			t.Fatal(err)
		}
		release()
		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := state(t, inner, k); got != claim.StateDone || s.Held() != 0 {
			t.Fatalf("after the release: the record is %v, %d held", got, s.Held())
		}
		// The hold is over.
		claimed(t, s, key(t, "other"))
	})
}

// A claim whose sender has given up lands all the same.
func TestLateLanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner := newStore(t)
		k, req := key(t, "id"), request()
		release := s.Hold(claim.OpTryClaim)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v, err := s.TryClaim(ctx, k, req)
		wantErr(t, err, claim.ErrUnknown)
		if v.Outcome != 0 {
			t.Fatalf("outcome %v with an error", v.Outcome)
		}
		if got := state(t, inner, k); got != claim.StateAbsent {
			t.Fatalf("before the landing the record is %v", got)
		}
		// The sender makes sure that the copy cannot land.
		if err := s.Release(t.Context(), k, claim.Grant{Token: req.Token}, 0); err != nil {
			t.Fatal(err)
		}
		release()
		calls := s.Calls()
		last := calls[len(calls)-1]
		if !last.Late || !last.Held || last.Op.Verdict.Outcome != claim.Stale {
			t.Fatalf("the late copy: %+v, want it stale", last)
		}
		if n := s.Count(claim.OpTryClaim); n != 1 {
			t.Errorf("%d claims counted, want 1", n)
		}
	})
}

// A batch is one trip: it is held as a whole, lands as a whole, and its
// operations are the caller's again meanwhile.
func TestLateBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner := newStore(t)
		a, b := key(t, "a"), key(t, "b")
		result := []byte("result")
		ops := []*claim.Op{
			{Kind: claim.OpTryClaim, Key: a, Request: request()},
			{Kind: claim.OpMarkDone, Key: b, Grant: claim.Grant{Token: claim.NewToken(), Fence: 1, Attempt: 1},
				Completion: claim.Completion{Retention: time.Hour, Result: result}},
		}
		release := s.Hold(claim.OpTryClaim)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Apply(ctx, ops)
		for _, op := range ops {
			wantErr(t, op.Err, claim.ErrUnknown)
		}
		clear(result)
		*ops[0], *ops[1] = claim.Op{}, claim.Op{}
		release()
		if state(t, inner, a) != claim.StatePending || state(t, inner, b) != claim.StateDone {
			t.Errorf("after the landing: %v and %v", state(t, inner, a), state(t, inner, b))
		}
		if entry, err := s.Get(t.Context(), b); err != nil || !bytes.Equal(entry.Result, []byte("result")) {
			t.Errorf("result %q, error %v", entry.Result, err)
		}
		if (ops[0].Verdict.Outcome != 0) || s.Held() != 0 {
			t.Errorf("the caller's operation was written to: %+v", ops[0])
		}
	})
}

func TestWithoutInspector(t *testing.T) {
	_, inner := newStore(t)
	s := faultstore.New(struct{ claim.Store }{inner})
	_, err := s.Get(t.Context(), key(t, "id"))
	wantErr(t, err, claim.ErrUnavailable)
	_, _, err = s.List(t.Context(), claim.Filter{}, "", 1)
	wantErr(t, err, claim.ErrUnavailable)
	wantErr(t, s.Forget(t.Context(), key(t, "id"), claim.Record{}), claim.ErrUnavailable)
	wantErr(t, s.Revive(t.Context(), key(t, "id"), claim.Record{}), claim.ErrUnavailable)
}

func TestConcurrentUse(t *testing.T) {
	s, _ := newStore(t)
	s.On(claim.OpTryClaim, faultstore.LoseReply, 50)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				k, req := key(t, fmt.Sprint(i, j)), request()
				for {
					v, err := s.TryClaim(t.Context(), k, req)
					if err == nil && v.Grant.Attempt == 1 {
						break
					}
					if !errors.Is(err, claim.ErrUnknown) {
						t.Errorf("%+v, error %v", v, err)
						return
					}
				}
				_ = s.Calls()
				if j%10 == 0 {
					s.Hold(claim.OpMarkDead)()
				}
			}
		})
	}
	wg.Wait()
	if n := s.Count(claim.OpTryClaim); n != 850 {
		t.Errorf("%d claims, want 800 and 50 repetitions", n)
	}
}

func TestOnRefusesScripted(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s, _ := newStore(t)
	s.On(faultstore.Any, faultstore.Scripted, 1)
}
