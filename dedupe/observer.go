package dedupe

import (
	"context"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Observer is told what a Deduper does. Metrics and tracing are adapters on it.
// Any field may be nil. The functions are called in the goroutine of the message
// and must return soon; those without a context are called by the Deduper's own
// goroutines. No event carries a message id, a payload or a token.
type Observer struct {
	// Decided is called when it is clear whether the handler runs.
	Decided func(ctx context.Context, e Decision)
	// Ran is called when the handler has returned.
	Ran func(ctx context.Context, e Run)
	// Settled is called last, with what the bus is told.
	Settled func(ctx context.Context, e Settled)
	// LeaseEnded is called when a running handler's context is cancelled, with
	// the cause.
	LeaseEnded func(cause error)
	// Circuit is called when the store is left alone (open) and when it is used
	// again.
	Circuit func(open bool)
}

// Source says who decided about a message.
type Source uint8

// The sources of a decision.
const (
	// FromStore is the claim store.
	FromStore Source = iota + 1
	// FromMemory is this process's memory of finished ids.
	FromMemory
	// FromFlight is another delivery of the key that runs in this process.
	FromFlight
	// FromPolicy is a policy of Options: no claim was asked for, or none answered.
	FromPolicy
)

// Decision tells whether the handler of a message runs.
type Decision struct {
	// Outcome is zero when the source is a policy.
	Outcome claim.Outcome
	Source  Source
	// Attempt is set for Claimed, Dead and Parked.
	Attempt int
	// Takeover is set for Claimed when an earlier owner's lease had run out.
	Takeover bool
	// Age is, for Done from the store, how long the key has been done, by the
	// retention that is left of the Deduper's own: right where all consumers of a
	// name use one Retention. Zero: not known.
	Age time.Duration
	// Elapsed is how long the decision took.
	Elapsed time.Duration
	// Err is why there was no answer from the store.
	Err error
}

// Run tells how a handler ended.
type Run struct {
	Attempt int
	Elapsed time.Duration
	Err     error
}

// Settled tells how a message ended.
type Settled struct {
	Action bus.Action
	Delay  time.Duration
	// Elapsed is the time since the message was handed over.
	Elapsed time.Duration
	Err     error
}
