// Package histories records what concurrent clients of a claim store saw while
// things broke, and checks whether there is an order of their operations that
// explains it: for every key an order in which each operation takes effect at one
// moment between its call and its return, and in which claim.Step gives the
// answers that were given.
//
//	h := histories.Record(clients...)
//	histories.Check(t, h)
//
// A [Client] is a store and a function that uses it; [Workload] makes functions
// that behave as consumers do, and worse. A [Recorder] records in parts, and any
// code that calls a claim.Store can be recorded through [Recorder.Store]. Package
// redisfaults, beneath this one, records on a Redis under faults.
//
// # What is recorded
//
// An operation has the time of its call and of its return, by one monotonic
// clock. One that was answered claim.ErrUnknown has no return: it may take effect
// once at any later time, or never, and so may copies that a client library sent
// without saying so. One that was answered claim.ErrUnavailable must not have
// taken effect; the order has no place for it.
//
// # The model
//
// The checker, porcupine, puts the answered operations of a key in order. A state
// of the model is the set of all states in which the record may be: those that
// claim.Step makes of it by the operations in order, with unknown operations in
// any number of places between. Time is not part of claim.Step's answer but of
// its question, so the model asks twice or three times, as if the lease were
// running, over, or the record forgotten, wherever the times of calls and returns
// leave the answer open, and keeps as bounds what each would mean: when a timer
// was set, when it can end, how late it must be. The fence of a grant whose
// answer is not known is any number above the ones before it, until somebody
// shows it.
//
// The model is sound: it follows everything that a correct store can do on a
// clock that runs within a thousandth of the recorder's, so that what it finds is
// wrong is wrong. Stores that commit read their clock before others see what they
// did; [Client].EarlyClock allows for that. docs/histories.md has the reasoning, and what cannot be found.
package histories
