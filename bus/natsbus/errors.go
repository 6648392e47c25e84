package natsbus

import (
	"errors"
	"fmt"

	"github.com/oncebus/once/bus"
)

// ErrRefused is returned by New for a consumer with which messages would be lost
// by design. The error names the settings.
var ErrRefused = errors.New("natsbus: the consumer's settings lose messages")

// ErrNoConfirmation is why a delivery could not be settled when the server did
// not answer until the ack wait had passed. It wraps no cause where there was
// none but silence.
var ErrNoConfirmation = errors.New("natsbus: the server did not confirm")

// SettleError tells of a delivery that could not be settled. The server delivers
// the message again when its ack wait is over.
type SettleError struct {
	// Action is what was to be told to the server.
	Action bus.Action
	// Position is the message's.
	Position string
	// Err is why.
	Err error
}

// Error leaves out the position, which a log above debug level should not have.
func (e *SettleError) Error() string { return fmt.Sprintf("natsbus: %v: %v", e.Action, e.Err) }

// Unwrap returns Err.
func (e *SettleError) Unwrap() error { return e.Err }
