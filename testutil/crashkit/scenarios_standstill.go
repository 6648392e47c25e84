package crashkit

import (
	"context"

	"github.com/oncebus/once/claim"
)

// standstillsBefore, standstillsAt and standstillsAfter are a process that stands
// still for longer than its lease, before, in and after the handler. Another one
// takes the message over and has it acknowledged; then the first one goes on.
var (
	standstillsBefore = []scenario{
		{point: "p2", name: "stands still with the reply to its claim", arrange: func(w *world) {
			w.standAt(onOp(answered, claim.OpTryClaim), w.b.signal(on(acking)))
		}},
		{point: "p3", name: "stands still before the handler starts", cause: outlived, arrange: func(w *world) {
			w.standAt(on(started), w.b.signal(on(acking)))
		}},
	}
	standstillsAfter = []scenario{
		{point: "p5", name: "stands still before the commit is sent", cause: outlived, arrange: func(w *world) {
			w.standAt(onOp(sending, claim.OpMarkDone), w.b.signal(on(acking)))
		}},
		{point: "p7", name: "stands still before the ack", arrange: func(w *world) {
			w.standAt(on(acking), w.b.signal(on(acking)))
		}},
	}
)

// standstillsAt has the first call as well: a handler that does not heed its
// context goes on to the effect when it wakes up.
func standstillsAt(c recordedCall, _ bool) []scenario {
	return []scenario{
		{point: "p4", name: "stands still before %s", cause: outlived, arrange: func(w *world) {
			w.standAt(onCall(calling, c), w.b.signal(on(acking)))
		}},
		{point: "p4", name: "stands still with %s on its way", cause: outlived, arrange: func(w *world) {
			w.standAt(onCall(inFlight, c), w.b.signal(on(acking)))
		}},
		{point: "p4", name: "stands still with %s on its way, and goes on while the other runs", cause: outlived, arrange: func(w *world) {
			w.standAt(onCall(inFlight, c), w.b.signal(on(started)))
			w.waitAt(on(started), w.a.signal(on(left)))
		}},
		{point: "p4", name: "stands still after %s", cause: outlived, arrange: func(w *world) {
			w.standAt(onCall(happened, c), w.b.signal(on(acking)))
		}},
	}
}

// waitAt makes the second process's goroutine wait at m until a channel is
// closed.
func (w *world) waitAt(m moment, until <-chan struct{}) {
	w.b.at(m, func(context.Context, *claim.Op) error {
		select {
		case <-until:
		case <-w.over:
		}
		return nil
	})
}
