// Command webhook receives a webhook that charges orders, each once, while
// everything goes wrong that makes a sender deliver an event again. Then it proves
// that no order was lost and none was charged twice.
//
//	go run ./examples/webhook
//
// needs nothing but Go: sender, receivers and a Redis are inside. Begin to read in
// main.go.
//
// # What it shows
//
// A sender signs events after the Standard Webhooks specification and delivers
// them to two receivers in turn, which share one claim store and nothing else.
// Events come more than once because
//
//   - the sender delivers some twice at the same time, to both receivers, and some
//     once more although it was answered;
//   - the connection is dropped, in mid-work or before the answer is read;
//   - the handler failed, or panicked, before the charge;
//   - the handler takes longer than the sender waits, so that the next try comes
//     while it runs. It goes on, and the try after that finds it finished.
//
// The sender tries again until it is answered 2xx, as all senders do, only faster.
// Some deliveries come from somebody else, with ids of real events to come and
// without a valid signature: they must neither run nor take the id.
//
// All of this is derived from the seed, the event and the try, so that a run can be
// repeated. The handler writes every charge into a ledger that knows nothing of
// deduplication. With -off the Dedupers let everything through, and the same ledger
// shows what happens without them: the slow handlers then run at every try, and the
// sender never hears of them. Ctrl-C lets what runs finish and reports what
// was sent until then; a second one ends it at once.
//
// # Flags
//
//	-messages N     how many events to send (3000)
//	-duplicates F   share of the events that are delivered twice (0.3)
//	-drop F         share of the tries whose connection is dropped (0.05)
//	-fail F         share of the handler's runs that fail (0.05)
//	-panic F        share of the handler's runs that panic (0.01)
//	-slow F         share of the events whose handler is slower than the sender waits (0.005)
//	-forged F       share of the events of which a forged copy comes first (0.05)
//	-workers N      how many events are on their way at a time (16)
//	-json           print the summary as JSON too
//	-seed N         what all chance is derived from (1)
//	-redis URL      a Redis, by URL or host:port
//	-off            switch the deduplication off
//	-v              log what the library and the servers have to say
//
// # Summary
//
// A table goes to the standard output. With -json it goes to the standard error,
// and the last line of the standard output is one JSON object. Its fields, first of
// requests, as the sender sees them:
//
//	requests        all of them, forged ones included
//	accepted        were answered 2xx
//	refused         were answered otherwise: 409, 502, 503
//	dropped         had no answer: dropped by the sender, given up by it after 400 ms,
//	                or broken off by a panic
//	forged          were not signed by the sender; all of them are answered 403
//
// of deliveries, as the receivers see them:
//
//	deliveries      requests with a valid signature that were read to their end
//	charges         ended with a charge
//	retried         ended with a handler that failed or panicked
//	panics          handlers that panicked
//	duplicates      were answered "already done"
//	memory_hits     of these, answered without the store
//	pending         were told to come again: the event was at work
//	other           ended otherwise: the store was down, the lease was lost
//	slow            handlers that ran for longer than the sender waited
//	takeovers, lease_lost, lost_commits, store_down    as in examples/consumer
//	given_up, vanished                                 0: nothing here does so
//
// of orders, from the ledger:
//
//	unique          events that the sender began to deliver
//	handled         orders charged
//	dead            events that the sender gave up after 20 tries
//	unsettled       events that were with the sender when the run was interrupted
//	lost            orders of which nothing is known; 0, or something is broken
//	double_effects  orders charged more than once; the same
//
// and of time: seconds, and per_second, which is handled / seconds.
//
// These sums hold in a run that ends by itself:
//
//	unique     = handled + dead + unsettled + lost
//	requests   = accepted + refused + dropped + forged
//	deliveries = charges + retried + duplicates + pending + other
//
// and charges = handled unless there are double_effects. With -off nothing is
// answered as a duplicate, so duplicates and pending are 0.
//
// The exit status is 1 if lost or double_effects is not 0, 2 for wrong flags or
// when the store could not be used, and 0 otherwise.
package main
