package crashkit

import (
	"runtime"
	"slices"

	"github.com/oncebus/once/bus"
)

// failuresAt are what a process lives through in the middle of its handler.
func failuresAt(c recordedCall, first bool) []scenario {
	before, during, after := onCall(calling, c), onCall(inFlight, c), onCall(happened, c)
	all := []scenario{
		{name: "%s fails, and did not happen", cause: failed.unless(first), arrange: func(w *world) { w.failAt(before) }},
		{name: "%s fails, and did happen", cause: failed, arrange: func(w *world) { w.failAt(after) }},
		{name: "panic after %s", cause: failed, arrange: func(w *world) { w.panicAt(after) }},
		{name: "Goexit after %s", cause: failed, arrange: func(w *world) {
			w.alone = true
			w.doAt(after, runtime.Goexit)
		}},
		{name: "%s hangs beyond MaxRun, and does not happen", cause: overran, arrange: func(w *world) { w.hangAt(during) }},
		{name: "%s hangs beyond MaxRun, and did happen", cause: overran, arrange: func(w *world) { w.hangAt(after) }},
		{name: "told to stop before %s", cause: shutDown.unless(first), arrange: func(w *world) {
			w.doAt(before, func() { w.a.stop(bus.ErrDrainTimeout) })
		}},
		{name: "cut off from the store before %s", cause: outlived, arrange: func(w *world) {
			w.doAt(before, func() { w.down(0, w.a) })
			w.sleepAt(before, 2*w.opts.Dedupe.Lease)
		}},
	}
	if !c.inline {
		// A panic in a goroutine of the handler's own would end the test program,
		// and a Goexit there is not the handler's.
		all = slices.Delete(all, 2, 4)
	}
	return all
}

// stoppedAfter is a shutdown that comes when all has been done.
func stoppedAfter(last call) []scenario {
	return []scenario{{name: "told to stop after the last effect", arrange: func(w *world) {
		w.doAt(moment{stage: happened, call: last}, func() { w.a.stop(bus.ErrDrainTimeout) })
	}}}
}
