// Package bus is the contract of a delivery: what a consumer is handed, and how
// it says what shall become of the message.
//
// A bus adapter turns the native messages of one client into [Message], calls a
// [Handler] for each, and settles the message by the handler's error:
//
//	error                     settlement   what the bus is told
//	------------------------  -----------  ---------------------------------------------
//	nil                       Ack          processed; confirmed by the server where it can
//	bus.RetryAfter(err, d)    Retry        deliver again, not before d
//	bus.Reject(err)           Reject       never deliver again
//	bus.Abandon(err)          Abandon      nothing at all; the bus's own timer decides
//	any other error           Retry        deliver again by the adapter's backoff
//
// [SettlementOf] is that table as code, and the only place where it is read.
//
// Abandon exists because buses do not fence. A JetStream server lets the first,
// stale owner's ack remove a message that a second owner is working on, and its
// nak start a third delivery. Whoever lost the right to a message must say
// nothing.
//
// An adapter calls [Serve] to run the handler, so that a handler that panics or
// leaves its goroutine is settled like one that failed. A handler must be safe
// for concurrent use unless the adapter is told to use one worker.
//
// testutil/bustest holds the rules of an adapter as a suite of tests.
package bus
