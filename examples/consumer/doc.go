// Command consumer charges orders from a NATS JetStream stream, each once, while
// everything goes wrong that makes a bus deliver a message again. Then it proves
// that no order was lost and none was charged twice.
//
//	go run ./examples/consumer
//
// needs nothing but Go: it brings its own NATS server and its own Redis. Begin to
// read in main.go.
//
// # What it shows
//
// Two processes, with two workers each, consume one durable consumer and share
// one claim store. They are two Dedupers with connections of their own: what the
// one works on, the other can only learn from the store. Orders come more than
// once because
//
//   - the publisher missed an acknowledgement and sent the order again, with the
//     same Nats-Msg-Id, too late for the stream's own window of 100 ms;
//   - the handler failed, or panicked, before the charge;
//   - the worker was gone after the charge and before the ack;
//   - the handler ran for longer than the ack wait. Its claim and its delivery are
//     kept alive meanwhile; its copy comes while it runs.
//
// All of this is derived from the seed, the order's id and the attempt, so that a
// run can be repeated. The handler writes every charge into a ledger that knows
// nothing of deduplication. With -off the Dedupers let everything through, and
// the same ledger shows what happens without them.
//
// The program ends when all that was published is settled: the consumer has
// nothing left, and the ledger knows of every order. If nothing moves for a
// minute it stops and reports what is lost. Ctrl-C lets the handlers that run
// finish and reports what was published until then; a second one ends it at once.
//
// # Flags
//
//	-messages N     how many orders to make up (10000)
//	-duplicates F   share of the orders that are published again (0.3; with -in 0)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-slow F         share of the orders that take longer than the ack wait (0.0005)
//	-vanish F       share of the orders whose worker is gone before the ack (0.005)
//	-workers N      how many handlers run at a time, in both processes (4)
//	-in FILE        read orders from a file, or from the standard input with -
//	-id FIELD       where a line of it has the order's id (id)
//	-json           print the summary as JSON too
//	-seed N         what all chance is derived from (1)
//	-nats URL       a NATS server with JetStream, or several with commas
//	-redis URL      a Redis, by URL or host:port; several with commas: a cluster
//	-off            switch the deduplication off
//	-v              log what the library has to say
//
// On a real NATS server the streams have names of their own and are deleted at the
// end. On a real Redis the keys have a namespace of their own and are forgotten
// after an hour.
//
// # Input
//
// With -in each line is one order, a JSON object of at most 1 MiB or what the NATS
// server takes. FIELD is a dotted path to its id, as in order.id; the id is a
// string that is not empty or a number, and a number counts as its digits: 7 and
// "7" are one order. A line whose id was there before is published as a copy of
// that order. A line that is no order is reported on the standard error by its
// number, counted, and stops nothing. Blank lines are skipped. Lines are published
// as they are read.
//
// # Summary
//
// A table goes to the standard output. With -json it goes to the standard error,
// and the last line of the standard output is one JSON object. Its fields, first
// of messages into the stream:
//
//	published       messages that the stream took, copies included
//	copies          of these, messages of an order that it had taken before
//	caught          further copies that the stream's own window recognised
//	rejected        lines of -in that are no order
//
// of deliveries, as the handlers' side sees them:
//
//	deliveries      all of them
//	charges         ended with a charge
//	retried         ended with a handler that failed or panicked, to come again
//	panics          handlers that panicked
//	duplicates      were answered "already done" and acknowledged
//	memory_hits     of these, answered without the store
//	pending         were told to come again: the order is at work elsewhere, or
//	                its next attempt is not due
//	given_up        failed for the last time, or were of an order given up before
//	other           ended otherwise: the store was down, the lease was lost
//	vanished        ended with a worker that was gone before the ack
//	expired         came because an ack wait passed though nobody had vanished
//	slow            handlers that ran for longer than the ack wait
//	takeovers       claims taken over from an owner whose lease had run out
//	lease_lost      handlers cancelled because their lease could not be kept
//	lost_commits    handlers that succeeded after another owner had taken over
//	store_down      were told to come again because the store gave no answer
//
// of orders, from the ledger:
//
//	unique          orders that the stream took
//	handled         orders charged
//	dead            orders given up, after 20 attempts, to the dead-letter stream
//	dead_letters    messages in that stream
//	unsettled       orders still with the bus when the run was interrupted
//	lost            orders of which nothing is known; 0, or something is broken
//	double_effects  orders charged more than once; the same
//
// and of time:
//
//	seconds         from the first publish to the last settlement
//	per_second      handled / seconds
//
// These sums hold in a run that ends by itself:
//
//	unique     = handled + dead + unsettled + lost
//	published  = unique + copies
//	deliveries = charges + retried + duplicates + pending + given_up + other
//	deliveries = published + retried + pending + store_down + vanished + expired
//
// and charges = handled unless there are double_effects. With -off nothing is
// answered as a duplicate, so duplicates and pending are 0. When a publisher's
// message is acknowledged by nobody and sent again, and both arrive, the second
// counts as expired.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or
// when servers could not be used, and 0 otherwise.
package main
