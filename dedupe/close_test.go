package dedupe_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/faultstore"
)

func TestCloseWaitsForWhatRunsAndRefusesWhatComes(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, nil)
		work := newBusy()
		h := d.Wrap(work.handler)
		answer := deliver(h, message("1"))
		<-work.started
		closed := make(chan error, 1)
		go func() { closed <- d.Close(context.Background()) }()
		pass(5 * lease) // the lease is kept meanwhile
		err := h(t.Context(), message("2"))
		if s := expectAction(t, err, bus.ActionRetry); !errors.Is(err, dedupe.ErrClosed) || s.Delay <= 0 {
			t.Errorf("a message after Close is told %v", err)
		}
		for _, err := range d.WrapBatch(refuseBatch)(t.Context(), []*bus.Message{message("3"), message("4")}) {
			if !errors.Is(err, dedupe.ErrClosed) {
				t.Errorf("a batch after Close is told %v", err)
			}
		}
		work.end <- nil
		expectAction(t, <-answer, bus.ActionAck)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseWithADeadlineCancelsWhatRuns(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, nil)
		cause := make(chan error, 1)
		answer := deliver(d.Wrap(func(ctx context.Context, _ *bus.Message) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		}), message("1"))
		pass(lease / 10)
		ctx, cancel := context.WithTimeout(t.Context(), lease)
		defer cancel()
		if err := d.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		if err := <-cause; !errors.Is(err, dedupe.ErrClosed) {
			t.Errorf("the handler was cancelled because of %v", err)
		}
		expectAction(t, <-answer, bus.ActionRetry)
		if err := d.Close(t.Context()); err != nil {
			t.Errorf("the second Close returned %v", err)
		}
	})
}

func TestObserveOnlyRunsEverythingAndCountsWhatItWouldSkip(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, func(o *dedupe.Options) { o.ObserveOnly = true; o.MaxAttempts = 1 })
		var did effects
		h := d.Wrap(did.handler)
		for range 3 {
			expectAction(t, h(t.Context(), message("1")), bus.ActionAck)
			pass(10 * time.Second)
		}
		expectAction(t, h(t.Context(), message("")), bus.ActionAck)
		failing := d.Wrap(func(context.Context, *bus.Message) error { return errBoom })
		for range 3 {
			if err := failing(t.Context(), message("2")); err != errBoom {
				t.Errorf("the handler's error comes back as %v, want it untouched", err)
			}
		}
		batch := d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error {
			for _, m := range ms {
				did.add(m)
			}
			return make([]error, len(ms))
		})
		for _, err := range batch(t.Context(), []*bus.Message{message("1"), message("3"), message("3")}) {
			expectAction(t, err, bus.ActionAck)
		}
		if did.count("1") != 4 || did.count("3") != 2 || did.count("") != 1 {
			t.Errorf("ran %v, want every delivery", did.ids)
		}
		if s := d.Stats(); s.Duplicates != 3 || s.OldestDuplicate < 20*time.Second || s.Observed != 4 {
			t.Errorf("%d duplicates, the oldest %v, %d observed; want 3, 30s, 4", s.Duplicates, s.OldestDuplicate, s.Observed)
		}
	})
}

// refuseBatch is a batch handler that is not to be called.
func refuseBatch(_ context.Context, ms []*bus.Message) []error { panic("called") }

func TestMessagesBeyondMaxLiveAreRetriedLater(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, func(o *dedupe.Options) { o.MaxLive = 2 })
		work := newBusy()
		h := d.Wrap(work.handler)
		one, two := deliver(h, message("1")), deliver(h, message("2"))
		<-work.started
		<-work.started
		err := h(t.Context(), message("3"))
		if s := expectAction(t, err, bus.ActionRetry); !errors.Is(err, dedupe.ErrBusy) || s.Delay <= 0 || d.Stats().Busy != 1 {
			t.Errorf("told %v, %d counted", err, d.Stats().Busy)
		}
		for _, err := range d.WrapBatch(refuseBatch)(t.Context(), []*bus.Message{message("3"), message("4")}) {
			if !errors.Is(err, dedupe.ErrBusy) {
				t.Errorf("a batch is told %v", err)
			}
		}
		work.end <- nil
		work.end <- nil
		expectAction(t, <-one, bus.ActionAck)
		expectAction(t, <-two, bus.ActionAck)
		for _, err := range d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error { return make([]error, len(ms)) })(
			t.Context(), []*bus.Message{message("5"), message("6"), message("7")}) {
			expectAction(t, err, bus.ActionAck) // larger than MaxLive, but alone
		}
	})
}

func TestWrapRefusesANilHandlerAtOnce(t *testing.T) {
	d := newDeduper(t, newMemstore(t), nil)
	for name, wrap := range map[string]func(){"Wrap": func() { d.Wrap(nil) }, "WrapBatch": func() { d.WrapBatch(nil) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes a nil handler", name)
				}
			}()
			wrap()
		}()
	}
}

func TestAStoreClockThatIsSetBackHoldsUpNoMessageForLongerThanALease(t *testing.T) {
	virtual(t, func(t *testing.T, _ *memstore.Store) {
		var back time.Duration
		store, err := memstore.New(&memstore.Options{Now: func() time.Time { return time.Now().Round(0).Add(-back) }})
		if err != nil {
			t.Fatal(err)
		}
		d, other := newDeduper(t, store, nil), newDeduper(t, store, nil)
		work := newBusy()
		answer := deliver(d.Wrap(work.handler), message("1"))
		<-work.started
		back = time.Hour
		var did effects
		err = other.Wrap(did.handler)(t.Context(), message("1"))
		if s := expectAction(t, err, bus.ActionRetry); s.Delay > 2*lease {
			t.Errorf("the copy is told to come again after %v, with a lease of %v", s.Delay, lease)
		}
		work.end <- nil
		expectAction(t, <-answer, bus.ActionAck)
	})
}

func TestCopiesOfAHandlerThatOutlivesItsLeaseDoNotComeInAHotLoop(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		cut := faultstore.New(store)
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		d := newDeduper(t, cut, nil)
		work := newBusy()
		h := d.Wrap(work.handler)
		batch := d.WrapBatch(refuseBatch)
		answer := deliver(h, message("1"))
		<-(<-work.started).Done()
		pass(2 * lease)
		for _, err := range []error{h(t.Context(), message("1")), batch(t.Context(), []*bus.Message{message("1")})[0]} {
			if s := expectAction(t, err, bus.ActionRetry); s.Delay < lease/3 {
				t.Errorf("the copy is told to come again after %v", s.Delay)
			}
		}
		work.end <- nil
		expectAction(t, <-answer, bus.ActionAck)
	})
}
