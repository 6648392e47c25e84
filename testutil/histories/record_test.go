package histories_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
	"github.com/oncebus/once/testutil/histories"
)

func newStore(t testing.TB) *memstore.Store {
	t.Helper()
	s, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request() claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
}

func TestRecord(t *testing.T) {
	key, store := handKey(t), newStore(t)
	req := request()
	h := histories.Record(
		histories.Client{Store: store, Run: func(s claim.Store) {
			v, err := s.TryClaim(t.Context(), key, req)
			if err != nil || v.Outcome != claim.Claimed {
				t.Errorf("%v, %v", v.Outcome, err)
			}
			result := []byte("result")
			if _, err := s.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: time.Hour, Result: result}); err != nil {
				t.Error(err)
			}
			result[0] = 'R' // the history keeps what was sent
		}},
		histories.Client{Store: store, Run: func(claim.Store) {}},
	)
	if len(h.Operations) != 2 || h.Operations[1].Op.Kind != claim.OpMarkDone || string(h.Operations[1].Op.Completion.Result) != "result" {
		t.Fatalf("%v", h.Operations)
	}
	for _, o := range h.Operations {
		if o.Unknown() || o.NotDone() || o.Return < o.Call || o.Copies != 0 || o.Client != 0 {
			t.Errorf("%v", &o)
		}
	}
	if c := h.Counts(); c.Operations != 2 || c.Grants != 1 || c.Done != 1 || c.Keys != 1 || c.Histories != 1 {
		t.Errorf("%+v", c)
	}
	histories.Check(t, h)
}

// Every operation of a store comes through, alone and in batches, and is
// recorded.
func TestRecordedStore(t *testing.T) {
	key, r := handKey(t), histories.NewRecorder()
	s := r.Store(histories.Client{Store: newStore(t)})
	ctx := t.Context()
	inspector := s.(claim.Inspector)
	v, err := s.TryClaim(ctx, key, request())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Extend(ctx, key, v.Grant, time.Hour); err != nil {
		t.Error(err)
	}
	entry, err := inspector.Get(ctx, key)
	if err != nil || entry.State != claim.StatePending {
		t.Errorf("%v, %v", entry.State, err)
	}
	if err := s.MarkDead(ctx, key, v.Grant, "broken"); err != nil {
		t.Error(err)
	}
	if err := inspector.Revive(ctx, key, claim.Record{State: claim.StateDead, Fence: v.Grant.Fence}); err != nil {
		t.Error(err)
	}
	if page, _, err := inspector.List(ctx, claim.Filter{}, "", 10); err != nil || len(page) > 1 {
		t.Errorf("%d entries, %v", len(page), err)
	}
	if err := inspector.Forget(ctx, key, claim.Record{State: claim.StateReleased, Fence: v.Grant.Fence}); err != nil {
		t.Error(err)
	}
	ops := []*claim.Op{
		{Kind: claim.OpTryClaim, Key: key, Request: request()},
		{Kind: claim.OpRelease, Key: key, Grant: v.Grant},
	}
	claim.Apply(ctx, s, ops)
	if ops[0].Verdict.Outcome != claim.Claimed || !errors.Is(ops[1].Err, claim.ErrLost) {
		t.Errorf("%v, %v", ops[0].Verdict.Outcome, ops[1].Err)
	}
	h := r.History()
	if len(h.Operations) != 7 {
		t.Errorf("%d operations, want 7: looks are not recorded", len(h.Operations))
	}
	histories.Check(t, h)
}

// A store that is no Inspector is none through the recorder.
func TestRecordedStoreWithoutInspector(t *testing.T) {
	s := histories.NewRecorder().Store(histories.Client{Store: struct{ claim.Store }{newStore(t)}}).(claim.Inspector)
	if _, err := s.Get(t.Context(), handKey(t)); !errors.Is(err, claim.ErrUnavailable) {
		t.Error(err)
	}
	if _, _, err := s.List(t.Context(), claim.Filter{}, "", 1); !errors.Is(err, claim.ErrUnavailable) {
		t.Error(err)
	}
	if err := s.Forget(t.Context(), handKey(t), claim.Record{}); !errors.Is(err, claim.ErrUnavailable) {
		t.Error(err)
	}
}

// What has no answer when the history is taken is unknown, as is what was
// answered so.
func TestOperationsWithoutAnAnswer(t *testing.T) {
	key, r, fs := handKey(t), histories.NewRecorder(), faultstore.New(newStore(t))
	s := r.Store(histories.Client{Store: fs, Resends: 2})
	release := fs.Hold(claim.OpTryClaim)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		_, _ = s.TryClaim(ctx, key, request())
	}()
	for fs.Held() == 0 {
		<-time.After(time.Millisecond)
	}
	for _, what := range []string{"before it returned", "after it returned"} {
		h := r.History()
		if len(h.Operations) != 1 || !h.Operations[0].Unknown() || h.Operations[0].Copies != 2 {
			t.Errorf("%s: %v", what, h.Operations)
		}
		histories.Check(t, h)
		cancel()
		<-returned
	}
}

// Where sends are counted, an operation has as many copies as were sent beyond
// the first.
func TestCopies(t *testing.T) {
	store := newStore(t)
	sends := 0
	sending := applyFunc(func(ctx context.Context, op *claim.Op) {
		sends += len(op.Reason)
		claim.Apply(ctx, store, []*claim.Op{op})
	})
	r := histories.NewRecorder()
	s := r.Store(histories.Client{Store: sending, Resends: 3, Sends: func() int { return sends }})
	for _, reason := range []string{"", "1", "12", "1234567"} {
		_ = s.MarkDead(t.Context(), handKey(t), claim.Grant{Token: claim.NewToken(), Fence: 1}, reason)
	}
	var got []int
	for _, o := range r.History().Operations {
		got = append(got, o.Copies)
	}
	if want := [...]int{0, 0, 1, 3}; len(got) != 4 || [4]int(got) != want {
		t.Errorf("copies %v, want %v", got, want)
	}
}

// Run calls beside in the caller's goroutine, until the clients are done.
func TestBeside(t *testing.T) {
	r := histories.NewRecorder()
	began := make(chan struct{})
	ended := false
	r.Run(func(ctx context.Context) {
		r.Note("began %d", 1)
		close(began)
		<-ctx.Done()
		ended = true
	}, histories.Client{Store: newStore(t), Run: func(claim.Store) { <-began }})
	if h := r.History(); !ended || len(h.Notes) != 1 || h.Notes[0].Text != "began 1" {
		t.Errorf("ended %v, notes %v", ended, h.Notes)
	}
}
