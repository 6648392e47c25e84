package crashkit_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// stepStore is a right store, spoilt by one mistake.
type stepStore struct {
	mu      sync.Mutex
	records map[claim.Digest]claim.Record
	mistake mistake
}

// mistake changes what Step made of before: the answer in op, and the record.
type mistake func(op *claim.Op, before claim.Record, next *claim.Record)

func (s *stepStore) apply(_ context.Context, ops []*claim.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		if err := op.Validate(); err != nil {
			op.Fail(err)
			continue
		}
		before := s.records[op.Key.Digest()]
		next, _ := claim.Step(before, op, claim.Instant(time.Now().UnixMicro()))
		s.mistake(op, before, &next)
		s.records[op.Key.Digest()] = next
		if op.Err != nil {
			op.Fail(op.Err)
		}
	}
}

func newStepStore(m mistake) func() claim.Store {
	return func() claim.Store {
		return crashkit.Trips((&stepStore{records: map[claim.Digest]claim.Record{}, mistake: m}).apply)
	}
}

// Each store makes the kit report a broken promise for a handler that passes
// everywhere on a right one.
func TestBrokenStoresAreFound(t *testing.T) {
	for _, c := range []struct {
		name    string
		mistake mistake
		says    string // in the row
		title   string // of one of the rows
	}{
		{"release deletes, whoever asks", func(op *claim.Op, _ claim.Record, next *claim.Record) {
			if op.Kind == claim.OpRelease {
				*next, op.Err = claim.Record{}, nil
			}
		}, "a second run after one that must be the last", "p4 stands still before charge"},
		{"a claim counts as done", func(op *claim.Op, _ claim.Record, next *claim.Record) {
			if op.Verdict.Outcome == claim.Claimed {
				next.State = claim.StateDone
			}
		}, "an acknowledgement without a run that succeeded", "p3 crash before the handler starts"},
		{"done is forgotten", func(op *claim.Op, _ claim.Record, next *claim.Record) {
			if op.Kind == claim.OpMarkDone {
				*next = claim.Record{}
			}
		}, "a second run after one that must be the last", "p7 crash before the ack"},
		{"a takeover keeps the fence", func(op *claim.Op, before claim.Record, next *claim.Record) {
			if op.Verdict.Takeover {
				next.Fence, op.Verdict.Grant.Fence = before.Fence, before.Fence
			}
		}, "a fence that did not rise", "p5 crash before the commit is sent"},
		{"everybody is granted", func(op *claim.Op, _ claim.Record, next *claim.Record) {
			if op.Verdict.Outcome == claim.Pending {
				next.Token, next.Fence = op.Request.Token, next.Fence+1
				op.Verdict = claim.Verdict{Outcome: claim.Claimed, Grant: claim.Grant{Token: next.Token, Fence: next.Fence, Attempt: 1}}
			}
		}, "a second run after one that must be the last", "delivered again while the handler runs"},
	} {
		e := crashkit.NewEffects()
		r := crashkit.Explore(t, newStepStore(c.mistake), func(ctx context.Context, _ *bus.Message) error {
			return keyed(ctx, e, "charge")
		}, e, nil)
		if got := row(t, r, c.title).Broken; got != c.says {
			t.Errorf("%s: %s: broken is %q, want %q", c.name, c.title, got, c.says)
		}
		if f := r.Findings; len(f) == 0 || f[0].Kind != crashkit.KindBroken || !f[0].Fails {
			t.Errorf("%s: found %+v", c.name, f)
		}
	}
	if r := explore(t, keyed, nil); !r.OK() {
		t.Errorf("the same on a right store:\n%v", r)
	}
}

// The store that everybody writes: SET NX, and DEL when the handler failed.
func TestSetNXAndDelDoublesTheEffectOfAnotherOwner(t *testing.T) {
	e := crashkit.NewEffects()
	e.Tolerate("charge") // where Once permits it
	r := crashkit.Explore(t, newStepStore(func(op *claim.Op, _ claim.Record, next *claim.Record) {
		if op.Kind == claim.OpRelease {
			*next, op.Err = claim.Record{}, nil
		}
	}), func(ctx context.Context, _ *bus.Message) error { return plain(ctx, e, "charge") }, e, nil)
	stale := row(t, r, "p4 stands still before charge")
	if stale.Counts[0].Happened != 2 || r.OK() || !strings.Contains(r.String(), "DOUBLED charge") {
		t.Errorf("a stale owner deletes what the other has done: %+v\n%v", stale, r)
	}
}

// onDedupe returns a wrapper that changes what a Deduper says.
func onDedupe(change func(error) error) func(claim.Store) (bus.Middleware, func(context.Context) error, error) {
	return func(store claim.Store) (bus.Middleware, func(context.Context) error, error) {
		d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, nil, err
		}
		return func(h bus.Handler) bus.Handler {
			inner := d.Wrap(h)
			return func(ctx context.Context, m *bus.Message) error { return change(inner(ctx, m)) }
		}, d.Close, nil
	}
}

func TestWrapperThatAcksWhateverHappensLoses(t *testing.T) {
	o := &crashkit.Options{}
	o.Wrap(onDedupe(func(error) error { return nil }))
	r := explore(t, keyed, o)
	want := []string{"charge fails, and did not happen", "told to stop before charge", "store down when the message comes"}
	if got := r.Lost("charge"); !containsAll(got, want) {
		t.Errorf("lost in %q, want %q", got, want)
	}
	if row(t, r, want[0]).Broken == "" || r.OK() {
		t.Errorf("\n%v", r)
	}
}

// seen is the wrapper that most libraries have: it marks the id before the
// handler runs, in a store of its own, and never unmarks it.
func TestMarkBeforeRunLoses(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	o := &crashkit.Options{Reset: func() { clear(seen) }}
	o.Wrap(func(claim.Store) (bus.Middleware, func(context.Context) error, error) {
		return func(h bus.Handler) bus.Handler {
			return func(ctx context.Context, m *bus.Message) error {
				mu.Lock()
				known := seen[m.ID]
				seen[m.ID] = true
				mu.Unlock()
				if known {
					return nil
				}
				return h(ctx, m)
			}
		}, func(context.Context) error { return nil }, nil
	})
	r := explore(t, func(ctx context.Context, e *crashkit.Effects, name string) error {
		return e.HappenOnce(ctx, name, "key")
	}, o)
	want := []string{"p3 crash before the handler starts", "p4 crash before charge", "charge fails, and did not happen"}
	if got := r.Lost("charge"); !containsAll(got, want) {
		t.Errorf("lost in %q, want %q", got, want)
	}
	if slices.Contains(r.Lost("charge"), "no fault") {
		t.Error("the charge is lost without a fault")
	}
}

func TestWrapperThatCannotBeMadeIsAnError(t *testing.T) {
	o := &crashkit.Options{}
	boom := errors.New("boom")
	o.Wrap(func(claim.Store) (bus.Middleware, func(context.Context) error, error) { return nil, nil, boom })
	e := crashkit.NewEffects()
	if _, err := crashkit.ExploreErr(t, nil, func(context.Context, *bus.Message) error { return nil }, e, o); !errors.Is(err, boom) {
		t.Errorf("told %v, want %v", err, boom)
	}
}
