// Command watermill charges orders in the handlers of two Watermill routers, each
// once, while everything goes wrong that makes Watermill deliver a message again.
// Then it proves that no order was lost and none was charged twice.
//
//	go run ./examples/watermill
//
// needs nothing but Go: the pub/sub is Watermill's own in memory, and so are the
// claims. Begin to read in main.go.
//
// The routers stand for two processes and share nothing but the claim store. The
// pub/sub gives every message to both. Orders come more than once because of that;
// because the publisher sent some of them again; because the handler failed, or
// panicked, before the charge; or because the worker was gone after the charge and
// before the ack. All of this is derived from the seed, the order's id and the
// attempt. The handlers write every charge into a ledger that knows nothing of
// deduplication; with -off everything runs, and the ledger shows what happens
// without it.
//
//	-messages N     how many orders (5000)
//	-duplicates F   share of the orders that are sent again (0.3)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-vanish F       share of the orders whose worker is gone before the ack (0.005)
//	-seed N         what all chance is derived from (1)
//	-json           print the summary as JSON on the last line of the standard output
//	-off            switch the deduplication off
//	-v              log what the libraries have to say
//
// The fields of the summary are those of examples/consumer that a pub/sub in memory
// has. These sums hold:
//
//	unique     = handled + dead + lost
//	published  = unique + copies
//	deliveries = charges + retried + duplicates + pending + given_up + other
//
// Ctrl-C ends the publishing, and what was published is still settled; a second one
// ends the program at once.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or a
// run that could not be finished, and 0 otherwise.
package main
