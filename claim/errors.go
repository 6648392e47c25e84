package claim

import (
	"errors"
	"fmt"
)

// The errors of a store, one meaning each. Test with errors.Is.
var (
	// ErrLost is returned when the claim is definitely no longer the caller's:
	// nothing was changed. Whoever gets it must not tell the bus anything.
	ErrLost = errors.New("claim lost")
	// ErrUnknown is returned when the operation may have happened: the send or
	// the reply was lost. Repeat it with the same arguments.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnavailable is returned when the operation definitely did not happen
	// and may work later: the store is down, full, or refuses the caller.
	ErrUnavailable = errors.New("store unavailable")
	// ErrCorrupt is returned for a record or a reply that this version of the
	// library cannot read. It is never treated as absent.
	ErrCorrupt = errors.New("record not readable")
	// ErrTooLarge is returned for an id or another argument over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid is returned for an argument that no store accepts.
	ErrInvalid = errors.New("invalid argument")
)

// Error is what a store's method returns: which operation failed, for which
// key, and why. Its text names the consumer and leaves out the message id.
type Error struct {
	Op  OpKind
	Key Key
	// Err wraps one of the sentinels and the cause.
	Err error
}

// Error returns "claim: TryClaim for consumer "c": cause".
func (e *Error) Error() string {
	return fmt.Sprintf("claim: %v for consumer %q: %v", e.Op, e.Key.Consumer(), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Unknown wraps cause, which may be nil, as ErrUnknown.
func Unknown(cause error) error { return join(ErrUnknown, cause) }

// Unavailable wraps cause, which may be nil, as ErrUnavailable.
func Unavailable(cause error) error { return join(ErrUnavailable, cause) }

// Corrupt returns an ErrCorrupt that says what could not be read. The detail
// must not contain ids, payloads or tokens.
func Corrupt(detail string) error { return fmt.Errorf("%w: %s", ErrCorrupt, detail) }

func join(sentinel, cause error) error {
	switch {
	case cause == nil:
		return sentinel
	case errors.Is(cause, sentinel):
		return cause
	}
	return fmt.Errorf("%w: %w", sentinel, cause)
}
