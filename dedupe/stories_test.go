package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/faultstore"
)

// world is where a story is told: a store that nobody else uses, and the length
// of a lease on it. Two Dedupers on one store are two processes.
type world struct {
	*testing.T
	store claim.Store
	lease time.Duration
}

// process makes a Deduper that believes to be alone, on a store of its own making
// or the world's.
func (w *world) process(set func(o *dedupe.Options)) *dedupe.Deduper {
	return w.processOn(w.store, set)
}

func (w *world) processOn(store claim.Store, set func(o *dedupe.Options)) *dedupe.Deduper {
	w.Helper()
	return newDeduper(w, store, func(o *dedupe.Options) {
		o.Lease = w.lease
		o.CommitTimeout = 2 * w.lease
		o.Backoff = func(int) time.Duration { return 0 }
		if set != nil {
			set(o)
		}
	})
}

// entry returns the record that the store holds for a message.
func (w *world) entry(id string) claim.Entry {
	w.Helper()
	return record(w, w.store.(claim.Inspector), id)
}

// stories are the acceptance stories that need no particular bus.
var stories = []struct {
	name string
	tell func(w *world)
}{
	{"handler fails, is redelivered and runs again", func(w *world) {
		if err := failedHandlerRunsAgain(w.process(nil).Wrap); err != nil {
			w.Error(err)
		}
	}},
	{"two deliveries at once run once, and the other is retried after the lease that remains", func(w *world) {
		first, second := w.process(nil), w.process(nil)
		work := newBusy()
		var did effects
		answer := deliver(first.Wrap(work.handler), message("1"))
		<-work.started
		err := second.Wrap(did.handler)(w.Context(), message("1"))
		s := expectAction(w, err, bus.ActionRetry)
		if !errors.Is(err, dedupe.ErrPending) || s.Delay <= 0 || s.Delay > 2*w.lease {
			w.Errorf("the second delivery is told %v, want ErrPending and the lease that remains", err)
		}
		var pending *dedupe.PendingError
		if !errors.As(err, &pending) || pending.Remaining <= 0 || pending.Remaining > min(w.lease, s.Delay) {
			w.Errorf("the second delivery is told %+v, want a PendingError with the lease that remains, and more as the delay", pending)
		}
		work.end <- nil
		expectAction(w, <-answer, bus.ActionAck)
		expectAction(w, second.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		if did.count("1") != 0 {
			w.Error("the second delivery ran as well")
		}
	}},
	{"two deliveries at once, and when the first fails the second runs", func(w *world) {
		first, second := w.process(nil), w.process(nil)
		work := newBusy()
		var did effects
		answer := deliver(first.Wrap(work.handler), message("1"))
		<-work.started
		h := second.Wrap(did.handler)
		expectAction(w, h(w.Context(), message("1")), bus.ActionRetry)
		work.end <- errBoom
		expectAction(w, <-answer, bus.ActionRetry)
		expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		if did.count("1") != 1 {
			w.Error("the second delivery did not run")
		}
	}},
	{"two deliveries at once in one process, and the second waits for the first", func(w *world) {
		d := w.process(func(o *dedupe.Options) { o.LocalWait = 10 * w.lease })
		work := newBusy()
		h := d.Wrap(work.handler)
		first, second := deliver(h, message("1")), deliver(h, message("1"))
		<-work.started
		work.end <- nil
		expectAction(w, <-first, bus.ActionAck)
		expectAction(w, <-second, bus.ActionAck)
		if s := d.Stats(); s.Runs != 1 || s.Duplicates != 1 {
			w.Errorf("%d runs and %d duplicates, want 1 and 1", s.Runs, s.Duplicates)
		}
	}},
	{"lease expires, B claims and completes, then A is told it lost and says nothing to the bus", func(w *world) {
		cut := faultstore.New(w.store)
		// With a fingerprint B's record keeps the fence: one stamp in 9000 is A's too.
		fingerprint := func(o *dedupe.Options) { o.Fingerprint = dedupe.PayloadFingerprint }
		a, b := w.processOn(cut, fingerprint), w.process(fingerprint)
		work := newBusy()
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		answer := deliver(a.Wrap(work.handler), message("1"))
		ctx := <-work.started
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, dedupe.ErrLeaseLost) {
			w.Errorf("A's context ended because of %v, want ErrLeaseLost", cause)
		}
		var did effects
		w.eventuallyAck(b.Wrap(did.handler), message("1"))
		before := w.entry("1")
		if before.State != claim.StateDone {
			w.Fatalf("the record is %v, want done by B", before.State)
		}
		cut.Reset()
		work.end <- nil
		err := <-answer
		expectAction(w, err, bus.ActionAbandon)
		if !errors.Is(err, dedupe.ErrLeaseLost) {
			w.Errorf("A is told %v, want ErrLeaseLost", err)
		}
		if after := w.entry("1"); after.Fence != before.Fence || after.State != claim.StateDone {
			w.Errorf("A changed the record from %v/%d to %v/%d", before.State, before.Fence, after.State, after.Fence)
		}
		if s := a.Stats(); s.LeasesLost != 1 || s.LostCommits != 1 {
			w.Errorf("%d leases lost and %d commits lost, want 1 and 1", s.LeasesLost, s.LostCommits)
		}
		if s := b.Stats(); s.Takeovers != 1 {
			w.Errorf("B counts %d takeovers, want 1", s.Takeovers)
		}
	}},
	{"lease expires, B is running, then A fails and neither releases B's claim nor naks", func(w *world) {
		cut := faultstore.New(w.store)
		a, b := w.processOn(cut, nil), w.process(nil)
		workA, workB := newBusy(), newBusy()
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		answerA := deliver(a.Wrap(workA.handler), message("1"))
		<-(<-workA.started).Done()
		hb := b.Wrap(workB.handler)
		answerB := w.untilStarted(hb, message("1"), workB)
		workA.end <- errBoom
		expectAction(w, <-answerA, bus.ActionAbandon)
		if e := w.entry("1"); e.State != claim.StatePending {
			w.Errorf("the record is %v after A's release, want pending with B", e.State)
		}
		workB.end <- nil
		expectAction(w, <-answerB, bus.ActionAck)
	}},
	{"late commit with nobody else is accepted", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, nil)
		work := newBusy()
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		answer := deliver(d.Wrap(work.handler), message("1"))
		<-(<-work.started).Done()
		pass(2 * w.lease)
		work.end <- nil
		expectAction(w, <-answer, bus.ActionAck)
		if s := d.Stats(); s.LateCommits != 1 {
			w.Errorf("%d late commits, want 1", s.LateCommits)
		}
		if e := w.entry("1"); e.State != claim.StateDone {
			w.Errorf("the record is %v, want done", e.State)
		}
	}},
	{"commit fails after success, and the work is not done again in this process", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, nil)
		var did effects
		h := d.Wrap(did.handler)
		cut.On(claim.OpMarkDone, faultstore.Fail, faultstore.Always)
		err := h(w.Context(), message("1"))
		expectAction(w, err, bus.ActionAbandon)
		if !errors.Is(err, dedupe.ErrCommitUnknown) {
			w.Errorf("the delivery is told %v, want ErrCommitUnknown", err)
		}
		expectAction(w, h(w.Context(), message("1")), bus.ActionAbandon)
		cut.Reset()
		expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		if n := did.count("1"); n != 1 {
			w.Errorf("%d effects, want 1", n)
		}
		if s := d.Stats(); s.UnknownCommits != 1 || s.LaterCommits != 1 {
			w.Errorf("%d commits unknown and %d later, want 1 and 1", s.UnknownCommits, s.LaterCommits)
		}
		if e := w.entry("1"); e.State != claim.StateDone {
			w.Errorf("the record is %v, want done", e.State)
		}
	}},
	{"commit whose reply is lost is repeated and counts once", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, nil)
		var did effects
		cut.On(claim.OpMarkDone, faultstore.LoseReply, 2)
		expectAction(w, d.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		if s := d.Stats(); s.LostCommits != 0 || s.UnknownCommits != 0 || s.RecoveredCommits != 0 {
			w.Errorf("a repeated commit is counted as a failure: %+v", s)
		}
	}},
	{"claim whose reply is lost is repeated and granted, never pending about one's own claim", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, nil)
		var did effects
		cut.On(claim.OpTryClaim, faultstore.LoseReply, 2)
		expectAction(w, d.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		if s := d.Stats(); s.Pending != 0 || did.count("1") != 1 {
			w.Errorf("%d pending and %d effects, want 0 and 1", s.Pending, did.count("1"))
		}
	}},
	{"context cancelled after success is still committed", func(w *world) {
		d := w.process(nil)
		ctx, cancel := context.WithCancel(w.Context())
		err := d.Wrap(func(context.Context, *bus.Message) error { cancel(); return nil })(ctx, message("1"))
		expectAction(w, err, bus.ActionAck)
		if e := w.entry("1"); e.State != claim.StateDone {
			w.Errorf("the record is %v, want done", e.State)
		}
	}},
	{"panic is counted, released and retried", func(w *world) {
		d := w.process(nil)
		err := d.Wrap(func(context.Context, *bus.Message) error { panic("ow") })(w.Context(), message("1"))
		expectAction(w, err, bus.ActionRetry)
		var p *bus.PanicError
		if !errors.As(err, &p) || p.Value != "ow" || len(p.Stack) == 0 {
			w.Errorf("the panic is not in %v", err)
		}
		if e := w.entry("1"); e.State != claim.StateReleased || e.Attempt != 1 || d.Stats().Panicked != 1 {
			w.Errorf("the record is %v after attempt %d and %d panics are counted", e.State, e.Attempt, d.Stats().Panicked)
		}
	}},
	{"Goexit is counted, released and takes only its own goroutine", func(w *world) {
		d := w.process(nil)
		h := d.Wrap(func(context.Context, *bus.Message) error { runtime.Goexit(); return nil })
		settled := make(chan bus.Settlement, 1)
		go bus.Serve(w.Context(), h, message("1"), func(s bus.Settlement) { settled <- s })
		if s := <-settled; s.Action != bus.ActionRetry || !errors.Is(s.Err, bus.ErrGoexit) {
			w.Errorf("settled as %v because of %v", s.Action, s.Err)
		}
		if e := w.entry("1"); e.State != claim.StateReleased || d.Stats().Panicked != 1 {
			w.Errorf("the record is %v and %d panics are counted", e.State, d.Stats().Panicked)
		}
	}},
	{"handler over MaxRun is cancelled, counted and released", func(w *world) {
		d := w.process(func(o *dedupe.Options) { o.MaxRun = 2 * w.lease })
		err := d.Wrap(func(ctx context.Context, _ *bus.Message) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})(w.Context(), message("1"))
		expectAction(w, err, bus.ActionRetry)
		if !errors.Is(err, dedupe.ErrMaxRun) || d.Stats().MaxRunExceeded != 1 {
			w.Errorf("told %v, %d counted", err, d.Stats().MaxRunExceeded)
		}
		if e := w.entry("1"); e.State != claim.StateReleased {
			w.Errorf("the record is %v, want released", e.State)
		}
	}},
	{"handler longer than its lease keeps it", func(w *world) {
		a, b := w.process(nil), w.process(nil)
		work := newBusy()
		answer := deliver(a.Wrap(work.handler), message("1"))
		ctx := <-work.started
		var did effects
		for range 4 {
			pass(w.lease / 2)
			expectAction(w, b.Wrap(did.handler)(w.Context(), message("1")), bus.ActionRetry)
		}
		if ctx.Err() != nil {
			w.Errorf("the handler was cancelled: %v", context.Cause(ctx))
		}
		work.end <- nil
		expectAction(w, <-answer, bus.ActionAck)
		if did.count("1") != 0 {
			w.Error("another process ran it meanwhile")
		}
	}},
	{"another payload behind one that has no claim is not a mismatch: that one may be wrong", func(w *world) {
		held := faultstore.New(w.store)
		a := w.processOn(held, func(o *dedupe.Options) { o.Fingerprint = dedupe.PayloadFingerprint })
		var did effects
		release := held.Hold(claim.OpTryClaim)
		wrong := message("1")
		wrong.Data = []byte("another order 1")
		answer := deliver(a.Wrap(did.handler), wrong)
		for held.Held() == 0 {
			runtime.Gosched()
		}
		if err := a.Wrap(did.handler)(w.Context(), message("1")); !errors.Is(err, dedupe.ErrPending) {
			w.Errorf("told %v, want ErrPending", err)
		}
		release()
		<-answer
	}},
	{"same id with another payload is a mismatch on every path", func(w *world) {
		fingerprinted := func(o *dedupe.Options) { o.Fingerprint = dedupe.PayloadFingerprint }
		other := message("1")
		other.Data = []byte("another order 1")
		expectMismatch := func(path string, err error) {
			w.Helper()
			if expectAction(w, err, bus.ActionReject); !errors.Is(err, dedupe.ErrMismatch) {
				w.Errorf("%s: told %v, want ErrMismatch", path, err)
			}
		}
		var did effects
		acks := func(_ context.Context, ms []*bus.Message) []error { return make([]error, len(ms)) }
		a, b := w.process(fingerprinted), w.process(fingerprinted)
		work := newBusy()
		answer := deliver(a.Wrap(work.handler), message("1"))
		<-work.started
		expectMismatch("pending", b.Wrap(did.handler)(w.Context(), other))
		expectMismatch("pending here", a.Wrap(did.handler)(w.Context(), other))
		expectMismatch("pending here, in a batch", a.WrapBatch(acks)(w.Context(), []*bus.Message{other})[0])
		work.end <- errBoom
		<-answer
		expectMismatch("released", b.Wrap(did.handler)(w.Context(), other))
		twins := b.WrapBatch(acks)(w.Context(), []*bus.Message{message("1"), other})
		expectAction(w, twins[0], bus.ActionAck)
		expectMismatch("in one batch", twins[1])
		expectMismatch("done, from memory", b.Wrap(did.handler)(w.Context(), other))
		expectMismatch("done, from the store", a.Wrap(did.handler)(w.Context(), other))
		expectAction(w, a.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		if len(did.ids) != 0 {
			w.Errorf("ran %v", did.ids)
		}
	}},
	{"two consumers of one id both run", func(w *world) {
		var did effects
		for _, name := range []string{"billing", "shipping"} {
			d := w.process(func(o *dedupe.Options) { o.Consumer = name })
			expectAction(w, d.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		}
		if n := did.count("1"); n != 2 {
			w.Errorf("%d effects, want one for each consumer", n)
		}
	}},
	{"redrive runs exactly once more", func(w *world) {
		d := w.process(nil)
		var did effects
		broken := true
		h := d.Wrap(func(ctx context.Context, m *bus.Message) error {
			if broken {
				return dedupe.Permanent(errBoom)
			}
			return did.handler(ctx, m)
		})
		expectAction(w, h(w.Context(), message("1")), bus.ActionReject)
		broken = false
		if err := h(w.Context(), message("1")); !errors.Is(err, dedupe.ErrDead) {
			w.Fatalf("a dead message is told %v", err)
		}
		dead, err := d.Inspect(w.Context(), dedupe.ID("1"))
		if err != nil || dead.State != claim.StateDead {
			w.Fatalf("the record is %v (%v), want dead", dead.State, err)
		}
		other := dead
		other.Fence++
		if err := d.Revive(w.Context(), dedupe.ID("1"), other); !errors.Is(err, claim.ErrLost) {
			w.Errorf("Revive of what the operator never saw: %v", err)
		}
		if err := d.Revive(w.Context(), dedupe.ID("1"), dead); err != nil {
			w.Fatal(err)
		}
		for range 3 {
			expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		}
		done, _ := d.Inspect(w.Context(), dedupe.ID("1"))
		if did.count("1") != 1 || done.State != claim.StateDone {
			w.Errorf("%d effects, the record is %v", did.count("1"), done.State)
		}
		if err := d.Revive(w.Context(), dedupe.ID("1"), done); err != nil {
			w.Fatal(err)
		}
		expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		if did.count("1") != 2 {
			w.Errorf("%d effects after the redrive of a done message, want 2", did.count("1"))
		}
	}},
	{"store down, closed: retried with backoff and no hot loop", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, func(o *dedupe.Options) {
			o.ClaimTimeout = w.lease / 10
			o.CircuitThreshold = 3
			o.CircuitCooldown = w.lease / 2
		})
		var did effects
		h := d.Wrap(did.handler)
		cut.On(claim.OpTryClaim, faultstore.Fail, faultstore.Always)
		for range 3 {
			err := h(w.Context(), message("1"))
			s := expectAction(w, err, bus.ActionRetry)
			if !errors.Is(err, dedupe.ErrStoreDown) || s.Delay < w.lease/4 {
				w.Errorf("told %v, want ErrStoreDown and a pause", err)
			}
		}
		asked := len(cut.Calls())
		for range 100 {
			expectAction(w, h(w.Context(), message("1")), bus.ActionRetry)
		}
		if more := len(cut.Calls()) - asked; more > 0 {
			w.Errorf("the store was asked %d times while the circuit is open", more)
		}
		cut.Reset()
		w.eventuallyAck(h, message("1"))
		if did.count("1") != 1 {
			w.Errorf("%d effects, want 1", did.count("1"))
		}
	}},
	{"store down, open: runs and is counted", func(w *world) {
		cut := faultstore.New(w.store)
		d := w.processOn(cut, func(o *dedupe.Options) {
			o.StoreDown = dedupe.FailOpen
			o.ClaimTimeout = w.lease / 10
		})
		var did effects
		cut.On(claim.OpTryClaim, faultstore.Fail, faultstore.Always)
		expectAction(w, d.Wrap(did.handler)(w.Context(), message("1")), bus.ActionAck)
		if s := d.Stats(); s.FailedOpen != 1 || did.count("1") != 1 {
			w.Errorf("%d counted, %d effects, want 1 and 1", s.FailedOpen, did.count("1"))
		}
	}},
	{"a batch with duplicates inside runs each id once", func(w *world) {
		d := w.process(nil)
		var did effects
		h := d.WrapBatch(func(_ context.Context, ms []*bus.Message) []error {
			errs := make([]error, len(ms))
			for i, m := range ms {
				if m.ID == "bad" {
					errs[i] = errBoom
					continue
				}
				did.add(m)
			}
			return errs
		})
		ids := []string{"1", "2", "1", "bad", "3", "bad", "2", "1"}
		var ms []*bus.Message
		for _, id := range ids {
			ms = append(ms, message(id))
		}
		for i, err := range h(w.Context(), ms) {
			want := bus.ActionAck
			if ids[i] == "bad" {
				want = bus.ActionRetry
			}
			expectAction(w, err, want)
		}
		if !slices.Equal(did.ids, []string{"1", "2", "3"}) {
			w.Errorf("ran %v, want 1 2 3 in this order", did.ids)
		}
	}},
	{"a message without an id meets the policy, never silence", func(w *world) {
		nameless := func() *bus.Message { m := message(""); m.Position = "orders:7"; return m }
		for _, c := range []struct {
			policy dedupe.MissingID
			want   bus.Action
			runs   int
		}{
			{dedupe.RejectMissing, bus.ActionReject, 0},
			{dedupe.HashPayload, bus.ActionAck, 1},
			{dedupe.UsePosition, bus.ActionAck, 1},
			{dedupe.PassThrough, bus.ActionAck, 2},
		} {
			var did effects
			var letters []bus.DeadLetter
			d := w.process(func(o *dedupe.Options) {
				o.Consumer = c.policy.String()
				o.MissingID = c.policy
				o.DeadLetter = func(_ context.Context, l bus.DeadLetter) error { letters = append(letters, l); return nil }
			})
			h := d.Wrap(did.handler)
			expectAction(w, h(w.Context(), nameless()), c.want)
			expectAction(w, h(w.Context(), nameless()), c.want)
			if len(did.ids) != c.runs || d.Stats().MissingID != 2 {
				w.Errorf("%v: %d runs and %d counted, want %d and 2", c.policy, len(did.ids), d.Stats().MissingID, c.runs)
			}
			if c.policy == dedupe.RejectMissing && len(letters) != 2 {
				w.Errorf("%d dead letters, want 2", len(letters))
			}
		}
	}},
	{"shutdown in mid-batch marks nothing that did not run", func(w *world) {
		d := w.process(nil)
		ctx, cancel := context.WithCancel(w.Context())
		errs := d.WrapBatch(func(ctx context.Context, ms []*bus.Message) []error {
			cancel()
			errs := make([]error, len(ms))
			for i := range ms[1:] {
				errs[i+1] = ctx.Err()
			}
			return errs
		})(ctx, []*bus.Message{message("1"), message("2"), message("3")})
		expectAction(w, errs[0], bus.ActionAck)
		for i, id := range []string{"2", "3"} {
			expectAction(w, errs[i+1], bus.ActionRetry)
			if e := w.entry(id); e.State != claim.StateReleased {
				w.Errorf("the record of a message that did not run is %v, want released", e.State)
			}
		}
	}},
	{"a handler that a shutdown interrupts is not dead for it", func(w *world) {
		d := w.process(func(o *dedupe.Options) { o.MaxAttempts = 1 })
		ctx, cancel := context.WithCancel(w.Context())
		err := d.Wrap(func(ctx context.Context, _ *bus.Message) error { cancel(); return ctx.Err() })(ctx, message("1"))
		expectAction(w, err, bus.ActionRetry)
		if e := w.entry("1"); e.State != claim.StateReleased {
			w.Errorf("the record is %v, want released", e.State)
		}
	}},
	{"a permanent error goes to the sink, then dead, then rejected", func(w *world) {
		var letters []bus.DeadLetter
		d := w.process(func(o *dedupe.Options) {
			o.DeadLetter = func(_ context.Context, l bus.DeadLetter) error {
				if e := w.entry("1"); len(letters) == 0 && e.State != claim.StatePending {
					w.Errorf("the record is %v when the sink is called, want pending", e.State)
				}
				letters = append(letters, l)
				return nil
			}
		})
		h := d.Wrap(func(context.Context, *bus.Message) error { return dedupe.Permanent(errBoom) })
		expectAction(w, h(w.Context(), message("1")), bus.ActionReject)
		expectAction(w, h(w.Context(), message("1")), bus.ActionReject)
		if len(letters) != 2 || letters[0].ID != letters[1].ID || letters[0].ID == "" {
			w.Fatalf("dead letters %+v, want two with one id", letters)
		}
		if l := letters[0]; l.Attempt != 1 || l.Consumer != "billing" || l.Message.ID != "1" || l.Reason == "" {
			w.Errorf("dead letter %+v", l)
		}
		if s := d.Stats(); s.Died != 1 || s.Dead != 1 || s.DeadLettered != 2 {
			w.Errorf("%d died, %d dead, %d dead-lettered", s.Died, s.Dead, s.DeadLettered)
		}
	}},
	{"a failing sink loses nothing", func(w *world) {
		down := true
		d := w.process(func(o *dedupe.Options) {
			o.DeadLetter = func(context.Context, bus.DeadLetter) error {
				if down {
					return errBoom
				}
				return nil
			}
		})
		h := d.Wrap(func(context.Context, *bus.Message) error { return dedupe.Permanent(errors.New("bad order")) })
		expectAction(w, h(w.Context(), message("1")), bus.ActionRetry)
		if e := w.entry("1"); e.State != claim.StateReleased {
			w.Errorf("the record is %v, want released", e.State)
		}
		down = false
		expectAction(w, h(w.Context(), message("1")), bus.ActionReject)
		if s := d.Stats(); s.SinkFailed != 1 || s.DeadLettered != 1 {
			w.Errorf("%d refused and %d taken, want 1 and 1", s.SinkFailed, s.DeadLettered)
		}
	}},
	{"attempts used up by failures and crashes alike end in the sink", func(w *world) {
		var letters atomic.Int64
		set := func(o *dedupe.Options) {
			o.MaxAttempts = 3
			o.DeadLetter = func(context.Context, bus.DeadLetter) error { letters.Add(1); return nil }
		}
		d := w.process(set)
		failing := d.Wrap(func(context.Context, *bus.Message) error { return errBoom })
		expectAction(w, failing(w.Context(), message("1")), bus.ActionRetry)
		w.crash("1")
		expectAction(w, failing(w.Context(), message("1")), bus.ActionReject)
		if e := w.entry("1"); e.State != claim.StateDead || letters.Load() != 1 {
			w.Errorf("the record is %v and the sink has %d, want dead and 1", e.State, letters.Load())
		}
		for range 3 {
			w.crash("2")
		}
		if err := failing(w.Context(), message("2")); !errors.Is(err, dedupe.ErrDead) {
			w.Errorf("after three crashes the message is told %v, want ErrDead", err)
		}
		if letters.Load() != 2 {
			w.Errorf("the sink has %d, want 2", letters.Load())
		}
	}},
	{"a vanished owner's key is parked when the policy says so, until revived", func(w *world) {
		d := w.process(func(o *dedupe.Options) { o.Takeover = claim.Park })
		var did effects
		h := d.Wrap(did.handler)
		w.crash("1")
		err := h(w.Context(), message("1"))
		expectAction(w, err, bus.ActionReject)
		if !errors.Is(err, dedupe.ErrParked) || did.count("1") != 0 {
			w.Fatalf("told %v, %d effects", err, did.count("1"))
		}
		if err := d.Revive(w.Context(), dedupe.ID("1"), w.entry("1")); err != nil {
			w.Fatal(err)
		}
		expectAction(w, h(w.Context(), message("1")), bus.ActionAck)
		if did.count("1") != 1 {
			w.Errorf("%d effects, want 1", did.count("1"))
		}
	}},
	{"a result is kept and handed to duplicates", func(w *world) {
		var replies []string
		set := func(o *dedupe.Options) {
			o.OnDuplicate = func(_ context.Context, _ *bus.Message, r dedupe.Result) error {
				replies = append(replies, fmt.Sprintf("%s/%v", r.Bytes, r.Omitted))
				return nil
			}
			o.MaxResult = 8
		}
		a, b := w.process(set), w.process(set)
		answer := func(reply string) bus.Handler {
			return func(ctx context.Context, _ *bus.Message) error {
				dedupe.SetResult(ctx, []byte(reply))
				return nil
			}
		}
		for _, id := range []string{"short", "long"} {
			reply := map[string]string{"short": "ok", "long": "far too long"}[id]
			for _, d := range []*dedupe.Deduper{a, a, b} {
				expectAction(w, d.Wrap(answer(reply))(w.Context(), message(id)), bus.ActionAck)
			}
		}
		if want := []string{"ok/false", "ok/false", "/true", "/true"}; !slices.Equal(replies, want) {
			w.Errorf("duplicates were handed %q, want %q", replies, want)
		}
	}},
	{"fences rise and child keys stay over the runs of a key", func(w *world) {
		d := w.process(nil)
		var fences []uint64
		var children, attempts []string
		h := d.Wrap(func(ctx context.Context, _ *bus.Message) error {
			fences = append(fences, dedupe.FenceFrom(ctx))
			children = append(children, dedupe.ChildKey(ctx, "charge"))
			attempts = append(attempts, fmt.Sprint(dedupe.AttemptFrom(ctx)))
			return errBoom
		})
		for range 3 {
			expectAction(w, h(w.Context(), message("1")), bus.ActionRetry)
		}
		if !slices.IsSorted(fences) || fences[0] == fences[1] || fences[1] == fences[2] || fences[0] == 0 {
			w.Errorf("fences %v do not rise", fences)
		}
		if children[0] != children[1] || children[1] != children[2] {
			w.Errorf("child keys %v differ", children)
		}
		if !slices.Equal(attempts, []string{"1", "2", "3"}) {
			w.Errorf("attempts %v", attempts)
		}
	}},
}

// failedHandlerRunsAgain delivers a message to a handler that fails at first, and
// says what is wrong with the wrapper of that handler, if anything is.
func failedHandlerRunsAgain(wrap bus.Middleware) error {
	var did effects
	fail := true
	h := wrap(func(ctx context.Context, m *bus.Message) error {
		if fail {
			return errBoom
		}
		return did.handler(ctx, m)
	})
	err := h(context.Background(), message("1"))
	if a := bus.SettlementOf(err).Action; a != bus.ActionRetry || !errors.Is(err, errBoom) {
		return fmt.Errorf("the failure is settled as %v (%v), want a retry because of %v", a, err, errBoom)
	}
	fail = false
	for range 2 {
		if err := h(context.Background(), message("1")); err != nil {
			return fmt.Errorf("the redelivery is told %w", err)
		}
	}
	if n := did.count("1"); n != 1 {
		return fmt.Errorf("%d effects, want 1", n)
	}
	return nil
}

// TestMarkBeforeRunLosesTheMessage tells the first story to the wrapper that most
// libraries have: it marks the id before the handler runs and never unmarks it.
func TestMarkBeforeRunLosesTheMessage(t *testing.T) {
	seen := map[string]bool{}
	markBeforeRun := func(h bus.Handler) bus.Handler {
		return func(ctx context.Context, m *bus.Message) error {
			if seen[m.ID] {
				return nil
			}
			seen[m.ID] = true
			return h(ctx, m)
		}
	}
	if err := failedHandlerRunsAgain(markBeforeRun); err == nil {
		t.Error("the story does not notice that the message is lost")
	}
}

// crash leaves behind what a process leaves that claimed id and died, and lets
// its lease run out.
func (w *world) crash(id string) {
	w.Helper()
	key, err := claim.NewKey("", "billing", claim.MessageID(id))
	if err != nil {
		w.Fatal(err)
	}
	v, err := w.store.TryClaim(w.Context(), key, claim.Request{Token: claim.NewToken(), TTL: w.lease / 10, Retention: time.Hour})
	if err != nil || v.Outcome != claim.Claimed {
		w.Fatalf("the process that is to crash is told %v, %v", v.Outcome, err)
	}
	pass(w.lease / 5)
}

// eventuallyAck delivers m, as a bus would, until it is acknowledged.
func (w *world) eventuallyAck(h bus.Handler, m *bus.Message) {
	w.Helper()
	for range 100 {
		s := bus.SettlementOf(h(w.Context(), m))
		if s.Action == bus.ActionAck {
			return
		}
		pass(max(s.Delay, w.lease/20))
	}
	w.Fatal("the message was never acknowledged")
}

// untilStarted delivers m until its handler has started.
func (w *world) untilStarted(h bus.Handler, m *bus.Message, work *busy) <-chan error {
	w.Helper()
	for range 100 {
		answer := deliver(h, m)
		select {
		case <-work.started:
			return answer
		case err := <-answer:
			pass(max(bus.SettlementOf(err).Delay, w.lease/20))
		}
	}
	w.Fatal("the handler never started")
	return nil
}

func TestStoriesOnMemstore(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s.tell(&world{T: t, store: newMemstore(t), lease: lease})
			})
		})
	}
}
