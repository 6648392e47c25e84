//go:build linux

package nemesis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"

	"github.com/nats-io/nats.go"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// HeaderOrder names the header that holds the id of an order. It is not the
// publisher's id of JetStream, which would keep copies out of the stream.
const HeaderOrder = "Order"

// visit is one delivery.
type visit struct {
	order string
	run   int
	fence uint64 // set when the handler runs
	tries int
}

type visitKey struct{}

// delivered goes around everything: what it sees is what the bus is told.
func (w *worker) delivered(next bus.Handler) bus.Handler {
	return func(ctx context.Context, m *bus.Message) (err error) {
		v := &visit{order: logged(m.Header.Get(HeaderOrder)), run: int(w.runs.Add(1))}
		returned := false
		defer func() {
			if !returned { // Goexit
				w.settled(v, bus.ErrGoexit)
			}
		}()
		err = next(context.WithValue(ctx, visitKey{}, v), m)
		returned = true
		if err == nil && v.tries > 0 {
			w.hook(P7, v.order)
		}
		w.settled(v, err)
		if err == nil && w.Plan.At(orderOf(v.order)) == P8 {
			// The ack goes to the reply subject of the message.
			if raw, ok := m.Raw.(*nats.Msg); ok {
				w.traps.arm(&trap{match: []byte(raw.Reply + " "), point: P8, order: v.order})
			}
		}
		return err
	}
}

// logged returns the id as the ledger has it: a hash of one that is not an order's,
// which may be anything.
func logged(id string) string {
	if orderOf(id) >= 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "x-" + hex.EncodeToString(sum[:8])
}

func (w *worker) settled(v *visit, err error) {
	line := Line{Kind: linePassed, Order: v.order, Run: v.run, Fence: v.fence, Attempt: v.tries}
	if v.fence != 0 || v.tries != 0 {
		line.Kind = lineSettled
	}
	line.Note = bus.SettlementOf(err).Action.String()
	switch {
	case errors.Is(err, dedupe.ErrCommitUnknown):
		line.Note = "unknown"
	case errors.Is(err, dedupe.ErrLeaseLost):
		line.Note = "lost"
	case errors.Is(err, dedupe.ErrStoreDown):
		line.Note = "down"
	}
	w.write(line)
}

// effect is the handler.
func (w *worker) effect(ctx context.Context, m *bus.Message) (err error) {
	v := ctx.Value(visitKey{}).(*visit)
	v.fence, v.tries = dedupe.FenceFrom(ctx), max(1, dedupe.AttemptFrom(ctx))
	line := Line{Order: v.order, Run: v.run, Fence: v.fence, Attempt: v.tries}
	say := func(kind, note string) {
		line.Kind, line.Note = kind, note
		w.write(line)
	}
	say(lineStart, "")
	note := "failed"
	defer func() { say(lineEnd, note) }()
	planned := w.Plan.At(orderOf(v.order)) != ""
	w.hook(P4, v.order)
	if planned && w.FailFirst && v.tries == 1 {
		return errors.New("the first run fails")
	}
	if planned && w.Slow > 0 && !pause(ctx, w.Slow) {
		note = "lost"
		return context.Cause(ctx)
	}
	if w.Fenced {
		accepted, err := w.sink.Put(v.order, v.fence)
		if err != nil {
			return err
		}
		if !accepted {
			note = "refused"
		}
	}
	say(lineEffect, "")
	if planned && w.Result > 0 {
		dedupe.SetResult(ctx, make([]byte, w.Result))
	}
	w.hook(P5, v.order)
	if note == "failed" {
		note = "ok"
	}
	return nil
}

func (w *worker) write(l Line) {
	if err := w.ledger.Write(l); err != nil {
		// Without its ledger the trial has no result.
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
}

// hook is called at a point of an order. It does, and returns, what the trial
// answers.
func (w *worker) hook(p Point, order string) Action {
	if w.Plan.At(orderOf(order)) == p {
		return w.act(w.ask(p, order))
	}
	return GoOn
}

func (w *worker) ask(p Point, order string) Action { return w.asker.ask(p, order) }

// act does to the process what a is.
func (w *worker) act(a Action) Action {
	self := os.Getpid()
	switch a {
	case Kill:
		_ = syscall.Kill(self, syscall.SIGKILL)
		select {} // on its way out of the system call the thread dies
	case Stop:
		// To this thread: one sent to the process may be taken by another thread,
		// and this one would run on until that is scheduled.
		runtime.LockOSThread()
		_ = syscall.Tgkill(self, syscall.Gettid(), syscall.SIGSTOP)
		runtime.UnlockOSThread()
	case Term:
		_ = syscall.Kill(self, syscall.SIGTERM)
	case Panic:
		panic("planned")
	case Goexit:
		runtime.Goexit()
	}
	return a
}
