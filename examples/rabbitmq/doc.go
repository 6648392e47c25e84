// Command rabbitmq charges orders from a RabbitMQ queue, each once, while everything
// goes wrong that makes RabbitMQ deliver a message again. Then it proves that no order
// was lost and none was charged twice.
//
//	go run ./examples/rabbitmq
//
// starts a rabbitmq-server of its own, which has to be installed, and takes some
// seconds for it; the claims are in its own Redis (miniredis). Begin to read in
// main.go.
//
// Two processes consume one queue. Orders come more than once because the publisher
// sent some of them again; the handler failed, or panicked, before the charge; a
// worker was gone after the charge and before the ack; or a process lost its
// connection in the middle of handlers, so that the server gave all that it had been
// given to the other one. All but the moment of that is derived from the seed, the
// order's id and the attempt. The handlers write every charge into a ledger that knows
// nothing of deduplication; with -off everything runs, and the ledger shows what
// happens without it.
//
//	-messages N     how many orders (5000)
//	-duplicates F   share of the orders that are sent again (0.3)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-vanish F       share of the orders whose worker is gone before the ack (0.005)
//	-cuts N         how many times a process loses its connection (4)
//	-workers N      how many handlers run at a time, in each process (16)
//	-amqp URL       a RabbitMQ 3.10 or later
//	-redis URL      a Redis 7.0 or later, by URL or host:port
//	-seed N         what all chance is derived from (1)
//	-json           print the summary as JSON on the last line of the standard output
//	-off            switch the deduplication off
//	-v              log what the library has to say
//
// The fields of the summary are those of examples/consumer that a queue has; stale is
// how many handlers ended whose message the server had taken back. These sums hold:
//
//	unique     = handled + dead + unsettled + lost
//	published  = unique + copies
//	deliveries = charges + retried + duplicates + pending + given_up + other
//
// Ctrl-C lets the handlers that run finish, and what is left in the queue counts as
// unsettled; a second one ends it at once.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or a
// server that could not be used, and 0 otherwise. On a RabbitMQ of yours the queues
// are deleted at the end, and on a Redis of yours the claims forgotten after an hour.
package main
