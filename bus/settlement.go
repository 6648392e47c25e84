package bus

import (
	"errors"
	"fmt"
	"time"
)

// Action is what becomes of a delivery.
type Action uint8

// The actions. The zero Action is invalid.
const (
	// ActionAck tells the bus that the message is processed.
	ActionAck Action = iota + 1
	// ActionRetry asks the bus for another delivery.
	ActionRetry
	// ActionReject tells the bus never to deliver the message again.
	ActionReject
	// ActionAbandon tells the bus nothing.
	ActionAbandon
)

// String returns the action in lower case.
func (a Action) String() string {
	switch a {
	case ActionAck:
		return "ack"
	case ActionRetry:
		return "retry"
	case ActionReject:
		return "reject"
	case ActionAbandon:
		return "abandon"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Settlement is what an adapter tells the bus.
type Settlement struct {
	Action Action
	// Delay is, for ActionRetry, the time until the next delivery. It is
	// meaningful only when HasDelay; otherwise the adapter's backoff decides.
	Delay    time.Duration
	HasDelay bool
	// Err is the handler's error, nil for ActionAck.
	Err error
}

// settleError carries a settlement through error chains.
type settleError struct {
	err    error
	action Action
	delay  time.Duration
}

func (e *settleError) Error() string {
	if e.action == ActionRetry {
		return fmt.Sprintf("%v after %v: %v", e.action, e.delay, e.err)
	}
	return fmt.Sprintf("%v: %v", e.action, e.err)
}

func (e *settleError) Unwrap() error { return e.err }

// errNoCause stands in for a nil cause: a settlement other than ack is always
// an error.
var errNoCause = errors.New("no cause given")

func settle(err error, a Action, d time.Duration) error {
	if err == nil {
		err = errNoCause
	}
	return &settleError{err: err, action: a, delay: d}
}

// RetryAfter returns an error that asks for another delivery of the message, not
// before d; a negative d counts as zero. It wraps err.
func RetryAfter(err error, d time.Duration) error { return settle(err, ActionRetry, max(d, 0)) }

// Reject returns an error that asks never to deliver the message again. It wraps
// err.
func Reject(err error) error { return settle(err, ActionReject, 0) }

// Abandon returns an error that leaves the message alone: the bus is told
// nothing. It wraps err.
func Abandon(err error) error { return settle(err, ActionAbandon, 0) }

// SettlementOf reads how a handler's error settles the delivery. In a chain of
// errors the outermost word counts.
func SettlementOf(err error) Settlement {
	if err == nil {
		return Settlement{Action: ActionAck}
	}
	var s *settleError
	if !errors.As(err, &s) {
		return Settlement{Action: ActionRetry, Err: err}
	}
	return Settlement{Action: s.action, Delay: s.delay, HasDelay: s.action == ActionRetry, Err: err}
}
