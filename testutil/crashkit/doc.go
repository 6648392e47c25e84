// Package crashkit takes a message handler through everything that can go wrong
// around it, and tells which of its effects would happen twice or never:
//
//	func TestCharge(t *testing.T) {
//		effects := crashkit.NewEffects()
//		shop := &Shop{Payments: fakePayments{effects}}
//		crashkit.Run(t, nil, shop.HandleOrder, effects, nil)
//	}
//
// The handler is the user's own. Only what it does to the world outside is
// replaced by fakes, and each fake tells [Effects] of what it was asked to do:
//
//	func (p fakePayments) Charge(ctx context.Context, order, key string) error {
//		return p.effects.HappenOnce(ctx, "charge", key)
//	}
//
// Which method it calls says how the real downstream is guarded:
// [Effects.Happen] not at all, [Effects.HappenOnce] by a key that it remembers,
// [Effects.HappenFenced] by a fence below which it refuses.
//
// # Scenarios
//
// A first run without faults finds out which effects the handler has. Then each
// scenario delivers one message to two processes, that is two Dedupers on one
// store, over a bus that redelivers until it is told to stop, as JetStream does.
// One fault strikes the first process: it dies at one of the crash points p0 to
// p8 of package claim, before and after each effect; it stands still for longer
// than its lease and then goes on; an operation or its reply is lost, or arrives
// twice, or late; the store is down, or forgets; an effect fails, panics or
// hangs; the process is told to stop; the message comes twice. After most of them the message is delivered
// once more to every process that lives, and must not run again.
//
// A process that dies sends nothing more to the store, the bus or an effect, and
// its goroutine ends there by runtime.Goexit, which no recover survives. Deferred
// functions run, which a real crash would not do; what they call of the above
// has no effect.
//
// Every scenario is a bubble of testing/synctest: minutes of leases and ack waits
// pass at once, and nothing is left behind. The handler and its fakes must be
// able to live in one: no network, and no waiting for goroutines from outside.
//
// # Limits
//
// Both processes share the memory of the test. A handler that keeps state of its
// own must be made anew for each by Options.NewHandler, or it remembers what a
// crash would wipe. A mutex must not be held while an effect is called: who waits
// for it keeps virtual time from passing, and all stands still.
//
// Retention that has passed, and steps of the store's clock, are not tried.
package crashkit
