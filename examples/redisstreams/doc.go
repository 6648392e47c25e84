// Command redisstreams charges orders from a Redis stream, each once, while
// everything goes wrong that makes a consumer group deliver an entry again. Then it
// proves that no order was lost and none was charged twice.
//
//	go run ./examples/redisstreams
//
// needs nothing but Go: it brings its own Redis (miniredis), which holds the stream
// and the claims. Begin to read in main.go.
//
// Two processes consume one group. Orders come more than once because the publisher
// added some of them again; the handler failed, or panicked, before the charge; or
// the worker was gone after the charge and before the ack, so that its entry stayed
// pending until it was taken over. All of this is derived from the seed, the order's
// id and the attempt. The handlers write every charge into a ledger that knows
// nothing of deduplication; with -off everything runs, and the ledger shows what
// happens without it.
//
//	-messages N     how many orders (5000)
//	-duplicates F   share of the orders that are added again (0.3)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-vanish F       share of the orders whose worker is gone before the ack (0.005)
//	-workers N      how many handlers run at a time, in each process (8)
//	-redis URL      a Redis 7.0 or later, by URL or host:port
//	-seed N         what all chance is derived from (1)
//	-json           print the summary as JSON on the last line of the standard output
//	-off            switch the deduplication off
//	-v              log what the library has to say
//
// The fields of the summary are those of examples/consumer that a stream has;
// claimed is how many entries were taken over. These sums hold:
//
//	unique     = handled + dead + unsettled + lost
//	published  = unique + copies
//	deliveries = charges + retried + duplicates + pending + given_up + other
//
// Ctrl-C lets the handlers that run finish, and what is
// left in the stream counts as unsettled; a second one ends it at once.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or a
// server that could not be used, and 0 otherwise. On a real Redis the streams are
// deleted at the end, and the claims forgotten after an hour.
package main
