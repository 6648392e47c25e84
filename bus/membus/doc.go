// Package membus is a bus in memory, for tests and examples.
//
// It redelivers as a JetStream consumer does, with the sharp edges that a
// deduplicator must survive: a message that is not settled within AckWait is
// delivered again while the first handler still runs; a settlement by that first
// handler is accepted all the same, since nothing fences it, so that a stale ack
// removes a message that a second owner works on and a stale retry starts a third
// delivery; and a message that was delivered MaxDeliver times is dropped without
// a word.
//
// All consumers of a [Bus] share its messages, like the members of one durable
// consumer. Nothing is kept when the program ends.
//
// The package takes time from package time alone and waits on channels alone, so
// a Bus that is made inside a testing/synctest bubble runs on the bubble's clock:
// an ack wait of thirty seconds passes at once.
package membus
