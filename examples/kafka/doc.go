// Command kafka charges orders from a Kafka topic, each once, while everything goes
// wrong that makes a consumer group deliver a record again. Then it proves that no
// order was lost and none was charged twice.
//
//	go run ./examples/kafka
//
// needs nothing but Go: it brings its own Kafka (kfake, the fake cluster of franz-go)
// and its own Redis (miniredis) for the claims. Begin to read in main.go.
//
// Two processes consume six partitions as one group. Orders come more than once
// because the publisher sent some of them again; the handler failed, or panicked,
// before the charge; the worker was gone after the charge and before its offset
// counted; or the second process left the group and came back, so that partitions
// went from one to the other and back, and with them what was settled behind a record
// that was not. All of this but the last is derived from the seed, the order's id and
// the attempt. The handlers write every charge into a ledger that knows nothing of
// deduplication; with -off everything runs, and the ledger shows what happens without
// it.
//
//	-messages N     how many orders (5000)
//	-duplicates F   share of the orders that are sent again (0.3)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-vanish F       share of the orders whose worker is gone before the offset counts (0.005)
//	-rebalances N   how often the second process leaves and comes back (3)
//	-workers N      how many handlers run at a time, for each partition (2)
//	-brokers ADDRS  a Kafka 2.8 or later, by host:port, several with commas between them
//	-redis URL      a Redis 7.0 or later, by URL or host:port
//	-seed N         what all chance is derived from (1)
//	-json           print the summary as JSON on the last line of the standard output
//	-off            switch the deduplication off
//	-v              log what the libraries have to say
//
// The fields of the summary are those of examples/consumer that a topic has; revoked
// is how many times a partition was taken from a process that was at work on it.
// These sums hold:
//
//	unique     = handled + dead + unsettled + lost
//	published  = unique + copies
//	deliveries = charges + retried + duplicates + pending + given_up + other
//
// Ctrl-C lets the handlers that run finish, and what the group has not committed
// counts as unsettled; a second one ends it at once.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or a
// server that could not be used, and 0 otherwise. On a real Kafka the topics and the
// group are deleted at the end, and on a real Redis the claims forgotten after an
// hour.
package main
