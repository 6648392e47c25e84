package bus

import "time"

// Redelivery is what a consumer of a bus is set to, as far as it decides when a
// message comes again. Adapters read it from the server; a deduplicator checks
// its own settings against it.
type Redelivery struct {
	// AckWait is the shortest time after which an unsettled message is delivered
	// again; 0 when unknown.
	AckWait time.Duration
	// MaxDeliver is the number of deliveries after which the bus gives up, with
	// or without a word; 0 when there is no limit.
	MaxDeliver int
	// Longest is the longest time between the first and the last delivery of a
	// message, as far as the bus bounds it (message age, backoff times
	// MaxDeliver); 0 when unknown or unbounded.
	Longest time.Duration
}
