package crashkit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
)

// The faults from which scenarios are made. All strike the first process unless
// they say otherwise.

var errUnheard = errors.New("crashkit: the bus does not hear it")

// crashAt kills it at m.
func (w *world) crashAt(m moment) {
	w.a.at(m, func(context.Context, *claim.Op) error {
		w.a.crash()
		return nil
	})
}

// standAt makes it stand still at m until a channel is closed.
func (w *world) standAt(m moment, until <-chan struct{}) {
	w.a.at(m, func(context.Context, *claim.Op) error {
		defer w.a.freeze()()
		select {
		case <-until:
		case <-w.over:
		}
		// Long enough for who closed the channel to go on.
		time.Sleep(time.Second)
		return nil
	})
}

// sleepAt makes its goroutine wait at m, while the rest of it goes on.
func (w *world) sleepAt(m moment, d time.Duration) {
	w.a.at(m, func(context.Context, *claim.Op) error {
		time.Sleep(d)
		return nil
	})
}

// hangAt makes an effect hang at m for longer than MaxRun, as a client does that
// gives up when its context ends.
func (w *world) hangAt(m moment) {
	w.a.at(m, func(ctx context.Context, _ *claim.Op) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(w.opts.round()):
			return nil
		}
	})
}

// failAt makes an effect fail at m.
func (w *world) failAt(m moment) {
	w.a.at(m, func(context.Context, *claim.Op) error { return w.opts.Err })
}

// panicAt makes an effect panic at m.
func (w *world) panicAt(m moment) {
	w.a.at(m, func(context.Context, *claim.Op) error { panic("crashkit: injected panic") })
}

// muteAt keeps what it says at m from the bus.
func (w *world) muteAt(m moment) {
	w.a.at(m, func(context.Context, *claim.Op) error { return errUnheard })
}

// doAt lets something happen when it reaches m.
func (w *world) doAt(m moment, do func()) {
	w.a.at(m, func(context.Context, *claim.Op) error {
		do()
		return nil
	})
}

// spoil makes its link to the store spoil operations.
func (w *world) spoil(kind claim.OpKind, fault faultstore.Fault, n int) {
	w.a.link.On(kind, fault, n)
	w.check(kind)
}

// check notes that its link is meant to strike an operation of a kind.
func (w *world) check(kind claim.OpKind) {
	w.checks = append(w.checks, func() bool { return w.a.struck(kind) })
}

// down cuts processes off from the store for a while; zero: until the end.
func (w *world) down(d time.Duration, processes ...*process) {
	for _, p := range processes {
		p.link.On(faultstore.Any, faultstore.Fail, faultstore.Always)
		if d > 0 {
			time.AfterFunc(d, p.link.Reset)
		}
	}
}

// delay takes the operation at m of the first process out of the network, kills
// that process, and lets the operation arrive when the second one reaches until.
func (w *world) delay(m, until moment) {
	var mu sync.Mutex
	var late *claim.Op
	w.a.at(m, func(_ context.Context, op *claim.Op) error {
		c := *op
		mu.Lock()
		late = &c
		mu.Unlock()
		w.a.crash()
		return nil
	})
	w.b.at(until, func(context.Context, *claim.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if late != nil {
			w.shelf.apply(context.Background(), []*claim.Op{late})
			late = nil
		}
		return nil
	})
}
