package crashkit

import (
	"context"
	"fmt"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
)

// repeatScenarios are a message that comes too often.
func repeatScenarios(first call) []scenario {
	return []scenario{
		{name: "delivered again after the ack", arrange: func(*world) {}},
		{name: "two deliveries at once, to two processes", arrange: func(w *world) { w.extra(w.b) }},
		{name: "two deliveries at once, to one process", arrange: func(w *world) { w.extra(w.a) }},
		{name: "delivered again while the handler runs", arrange: func(w *world) {
			w.doAt(moment{stage: inFlight, call: first}, func() {
				w.extra(w.b)
				time.Sleep(time.Second)
			})
		}},
		{name: "cut off from the bus while the handler runs", arrange: func(w *world) {
			w.doAt(moment{stage: calling, call: first}, func() {
				w.a.deaf.Store(true)
				time.Sleep(2 * w.opts.AckWait)
			})
		}},
	}
}

// spoilable are the operations that a network may spoil, and what makes the first
// process send them.
var spoilable = []struct {
	name    string
	kind    claim.OpKind
	provoke func(w *world, before moment)
}{
	{"claim", claim.OpTryClaim, func(*world, moment) {}},
	{"extension", claim.OpExtend, func(w *world, before moment) { w.sleepAt(before, w.opts.Dedupe.Lease) }},
	{"commit", claim.OpMarkDone, func(*world, moment) {}},
	{"release", claim.OpRelease, func(w *world, before moment) { w.failAt(before) }},
}

var spoilings = []struct {
	format string
	fault  faultstore.Fault
}{
	{"the %s is lost on its way", faultstore.LoseRequest},
	{"the %s's reply is lost", faultstore.LoseReply},
	{"the %s arrives twice", faultstore.Twice},
}

// networkScenarios spoil operations on their way, while both processes live.
func networkScenarios(first call, o *Options) (all []scenario) {
	for _, op := range spoilable {
		for _, s := range spoilings {
			all = append(all, scenario{name: fmt.Sprintf(s.format, op.name), arrange: func(w *world) {
				op.provoke(w, moment{stage: calling, call: first})
				w.spoil(op.kind, s.fault, 1)
			}})
		}
	}
	return append(all,
		scenario{name: "no reply to the claim gets through", cause: unclaimed(o), arrange: func(w *world) {
			w.spoil(claim.OpTryClaim, faultstore.LoseReply, faultstore.Always)
			time.AfterFunc(3*w.opts.Dedupe.Lease, w.a.link.Reset)
		}},
		scenario{name: "the claim arrives after it was given up", cause: unclaimed(o), arrange: func(w *world) {
			arrive := w.a.link.Hold(claim.OpTryClaim)
			w.healers = append(w.healers, arrive)
			w.check(claim.OpTryClaim)
			w.b.at(onOp(sending, claim.OpTryClaim), func(context.Context, *claim.Op) error { arrive(); return nil })
		}},
		scenario{name: "no reply to the commit gets through", arrange: func(w *world) {
			w.spoil(claim.OpMarkDone, faultstore.LoseReply, faultstore.Always)
		}},
	)
}
