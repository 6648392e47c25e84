package crashkit

import (
	"time"

	"github.com/oncebus/once/claim"
)

// storeScenarios are troubles of the store itself.
func storeScenarios(first, last call, o *Options) []scenario {
	commit := onOp(sending, claim.OpMarkDone)
	return []scenario{
		{name: "store down when the message comes", cause: unclaimed(o), arrange: func(w *world) {
			w.doAt(on(received), func() { w.down(3*w.opts.Dedupe.Lease, w.a, w.b) })
		}},
		{name: "store down while the handler runs", arrange: func(w *world) {
			w.doAt(moment{stage: calling, call: first}, func() {
				// Over the first extension, and not as far as the margin.
				w.down(w.opts.Dedupe.Lease*3/8, w.a, w.b)
				time.Sleep(w.opts.Dedupe.Lease)
			})
		}},
		{name: "store down during the commit, for a while", arrange: func(w *world) {
			w.doAt(commit, func() { w.down(min(w.opts.Dedupe.Lease, w.opts.Dedupe.CommitTimeout)/2, w.a, w.b) })
		}},
		{name: "store down until the commit was given up", arrange: func(w *world) {
			w.alone = true
			w.doAt(commit, func() { w.down(w.opts.Dedupe.CommitTimeout+2*w.opts.Dedupe.Lease, w.a, w.b) })
		}},
		{name: "cut off from the store at the commit", cause: outlived, arrange: func(w *world) {
			w.doAt(commit, func() { w.down(0, w.a) })
		}},
		{name: "store forgets while the handler runs, and the message comes again", cause: forgotten, arrange: func(w *world) {
			w.doAt(moment{stage: happened, call: last}, func() {
				w.shelf.put(w.opts.newStore())
				w.extra(w.b)
				time.Sleep(time.Second)
			})
		}},
		{name: "store forgets after the commit, and the ack is lost", cause: forgotten, arrange: func(w *world) {
			w.doAt(on(acking), func() { w.shelf.put(w.opts.newStore()) })
			w.muteAt(on(acking))
		}},
	}
}
