package bus

import "context"

// DeadLetter is a message that was given up for good, on its way to where
// people look at such messages.
type DeadLetter struct {
	// Message is the last delivery.
	Message *Message
	// ID identifies the dead letter: the same for every attempt to send it, and
	// derived from consumer and message id alone, so that a sink that
	// deduplicates keeps one.
	ID string
	// Consumer is the name of the consumer that gave up.
	Consumer string
	// Reason says why, for people.
	Reason string
	// Attempt is how many times the handler was given the message; 0 unknown.
	Attempt int
}

// DeadLetterSink stores a dead letter and returns nil only when it is stored
// for certain: the message is rejected after that. On an error nothing is lost,
// the message is retried. It may be called more than once for one message.
type DeadLetterSink func(ctx context.Context, d DeadLetter) error
