package crashkit

import "github.com/oncebus/once/claim"

// crashesBefore, crashesAt and crashesAfter are the crash points before, in and
// after the handler.
var crashesBefore = []scenario{
	{point: "p0", name: "crash before the claim is sent", arrange: func(w *world) { w.crashAt(on(received)) }},
	{point: "p1", name: "crash, the claim never arrives", arrange: func(w *world) { w.crashAt(onOp(sending, claim.OpTryClaim)) }},
	{point: "p1", name: "crash, the claim arrives late", arrange: func(w *world) {
		w.delay(onOp(sending, claim.OpTryClaim), onOp(sending, claim.OpTryClaim))
	}},
	{point: "p2", name: "crash, the claim's reply is lost", arrange: func(w *world) { w.crashAt(onOp(answered, claim.OpTryClaim)) }},
	{point: "p3", name: "crash before the handler starts", arrange: func(w *world) { w.crashAt(on(started)) }},
}

func crashesAt(c recordedCall, first bool) []scenario {
	return []scenario{
		{point: "p4", name: "crash before %s", cause: crashed.unless(first), arrange: func(w *world) { w.crashAt(onCall(calling, c)) }},
		{point: "p4", name: "crash after %s", cause: crashed, arrange: func(w *world) { w.crashAt(onCall(happened, c)) }},
	}
}

var crashesAfter = []scenario{
	{point: "p5", name: "crash before the commit is sent", cause: crashed, arrange: func(w *world) {
		w.crashAt(onOp(sending, claim.OpMarkDone))
	}},
	{point: "p5", name: "crash, the commit arrives after a takeover", cause: crashed, arrange: func(w *world) {
		w.delay(onOp(sending, claim.OpMarkDone), on(started))
	}},
	{point: "p6", name: "crash, the commit's reply is lost", arrange: func(w *world) { w.crashAt(onOp(answered, claim.OpMarkDone)) }},
	{point: "p7", name: "crash before the ack", arrange: func(w *world) { w.crashAt(on(acking)) }},
	{point: "p8", name: "the ack is lost", arrange: func(w *world) { w.muteAt(on(acking)) }},
	{point: "p8", name: "the ack is lost, and the same process is asked again", arrange: func(w *world) {
		w.alone = true
		w.muteAt(on(acking))
	}},
}
