package bustest

import (
	"context"
	"time"

	"github.com/oncebus/once/bus"
)

// Harness connects the suite to one topic of a bus.
type Harness struct {
	// Publish sends one message. Required.
	Publish func(ctx context.Context, id string, header bus.Header, data []byte) error
	// Consume is the adapter under test, with the given number of workers.
	// Calls share the messages. A retry without a delay must come within a
	// second. Required.
	Consume func(ctx context.Context, h bus.Handler, workers int) error
	// ConsumeBatch is the adapter's door for batches of at most size, one batch
	// at a time. Nil when it has none.
	ConsumeBatch func(ctx context.Context, h bus.BatchHandler, size int) error
	// Subject is what Message.Subject must be; "" is not checked.
	Subject string
	// AckWait is the ack wait of the consumer. The suite takes a few of them, so
	// 300 ms to 1 s is right on a real clock.
	AckWait time.Duration
	// DrainTimeout is the drain timeout of Consume; 0 skips its case. Take twice
	// the AckWait or more.
	DrainTimeout time.Duration
	// Features says what the bus can.
	Features Features
}

// Features are the abilities of a bus that not every bus has. A case that needs
// one that is missing is skipped.
type Features struct {
	// Header: messages carry headers.
	Header bool
	// PublisherID: Message.ID is the id that Publish was given.
	PublisherID bool
	// Position: Message.Position is set.
	Position bool
	// Place: Message.Log and Sequence are set.
	Place bool
	// Delivery: Message.Delivery counts.
	Delivery bool
	// Redelivery: a message that nobody settles comes again after AckWait.
	Redelivery bool
	// Delay: the delay of a retry is kept.
	Delay bool
	// Reject: a message can be rejected for good.
	Reject bool
	// KeepAlive: Message.KeepAlive restarts the ack wait.
	KeepAlive bool
}

// All returns the Features of a bus that can do everything.
func All() Features {
	return Features{
		Header: true, PublisherID: true, Position: true, Place: true, Delivery: true,
		Redelivery: true, Delay: true, Reject: true, KeepAlive: true,
	}
}

// T is the part of *testing.T that cases use.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}
