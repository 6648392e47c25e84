package watermillbus

import (
	"errors"

	"github.com/oncebus/once/bus"
)

// ErrNoPublisher is how Middleware refuses a message whose handler publishes, when
// Options.Publisher is nil. The handler did not run, and the message comes again.
var ErrNoPublisher = errors.New("watermillbus: the handler has a topic to publish to: set Options.Publisher")

// ErrSubscriptionEnded is returned by Consume when the subscriber ended the
// subscription although nobody had asked for that.
var ErrSubscriptionEnded = errors.New("watermillbus: the subscriber ended the subscription")

// IsRejected reports whether err says that its message must never be delivered
// again. It is the filter for Watermill's PoisonQueueWithFilter: without one,
// messages that are in progress elsewhere become poison too.
func IsRejected(err error) bool { return bus.SettlementOf(err).Action == bus.ActionReject }
