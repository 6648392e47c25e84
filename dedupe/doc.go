// Package dedupe makes a message handler take effect once although the bus
// delivers the message many times.
//
// A [Deduper] stands between a bus adapter and a handler. It claims each
// message id in a shared store, runs the handler only when the claim was
// granted, records the id as done when the handler succeeded, and gives the
// claim back when it failed, so that the bus's redelivery tries again:
//
//	d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing"})
//	...
//	handler := d.Wrap(func(ctx context.Context, m *bus.Message) error {
//		return charge(ctx, m.Data)
//	})
//
// [Deduper.Wrap] takes one message at a time, [Deduper.WrapBatch] many in one
// trip to the store, and [Deduper.Do] is the same without a bus, for anything
// that has an id.
//
// # Steps
//
// The order is fixed by construction; there is nothing to put in a wrong order.
//
//  1. Identify. Options.Key says what makes two deliveries the same message.
//     What happens to a message without an id is Options.MissingID, never silence.
//  2. Remember. Ids that finished here within the last minute are answered from
//     memory, and a second delivery of a key that runs here waits for the first.
//  3. Claim, with a deadline, repeated with the same token while the answer is
//     unknown.
//  4. Decide. Claimed runs. Done is acknowledged. Pending comes again after the
//     lease that remains. Dead, Mismatch and Parked go to the dead-letter sink
//     and are rejected. What happens while the store is down is Options.StoreDown.
//  5. Keep. The lease of the claim and the bus's own redelivery timer are
//     extended together while the handler runs. Losing either, or not hearing
//     from the store for as long as the lease, cancels the handler's context
//     with the cause [ErrLeaseLost].
//  6. Run, behind a barrier for panics and runtime.Goexit.
//  7. Commit, also when the context has been cancelled, repeated while the
//     answer is unknown. Work that could not be committed is remembered, so that
//     it is not done twice in this process.
//  8. Settle. The returned error says what the bus is told; see
//     [bus.SettlementOf]. Who lost the claim says nothing to the bus.
//  9. Tell. [Stats] counts every ending, and [Observer] is called for each.
//
// # What is guaranteed
//
// No message is lost: each ends done, or dead, or is still with the bus. The
// handler of a key runs a second time only after one of these, each of which is
// counted: a crash between the effect and the commit, a lease outlived, records
// lost by the store, a step of the store's clock, or a retention that passed.
// Where even that is too often, hand the downstream service a key derived from
// the message id ([ChildKey]); or, where the effect sets a state, make it
// conditional on the fence ([FenceFrom]), which keeps a stale owner from
// overwriting a newer one's.
//
// A Deduper is safe for concurrent use by any number of goroutines.
package dedupe
