// Package faultstore wraps a claim store and makes it fail on command, in the
// ways in which a network makes a store fail: a request that never arrives, a
// reply that is lost, a request that is late, one that lands after its sender
// has given up, one that arrives twice.
//
// It stands between the code under test and a real store, usually memstore:
//
//	fs := faultstore.New(store)
//	fs.On(claim.OpMarkDone, faultstore.LoseReply, 3) // the next three commits
//	release := fs.Hold(claim.OpExtend)               // heartbeats wait from here
//	defer release()
//
// The operations of one Apply travel in one trip: when one of them is held or
// blocked, so is the trip; all other faults strike operations one by one.
//
// Nothing here sleeps or starts a goroutine, so that tests with it run under
// testing/synctest and leave nothing behind.
package faultstore
