package dedupe

import (
	"errors"
	"time"

	"github.com/oncebus/once/bus"
)

// The errors of Do, Wrap and WrapBatch, one meaning each. Test with errors.Is.
// Each also says how the delivery is settled: see bus.SettlementOf.
var (
	// ErrPending is returned when another owner is running the handler, or when
	// the key may not be claimed yet. The settlement's delay says when to retry,
	// and PendingError for how long the owner's lease holds.
	ErrPending = errors.New("dedupe: in progress elsewhere")
	// ErrDead is returned when the key was given up for good.
	ErrDead = errors.New("dedupe: dead")
	// ErrMismatch is returned when the id is known with another payload.
	ErrMismatch = errors.New("dedupe: same id with another payload")
	// ErrParked is returned when an earlier owner vanished with its lease and
	// Options.Takeover is claim.Park: an operator must revive or forget the key.
	ErrParked = errors.New("dedupe: parked after an owner vanished")
	// ErrLeaseLost is returned when the claim was lost before the commit, and is
	// the cause of the handler's context when the lease could not be kept. The
	// bus is told nothing.
	ErrLeaseLost = errors.New("dedupe: lease lost")
	// ErrMaxRun is the cause of the handler's context when the handler ran for
	// longer than Options.MaxRun.
	ErrMaxRun = errors.New("dedupe: handler ran longer than MaxRun")
	// ErrCommitUnknown is returned when the handler succeeded and the store did
	// not say whether the completion is recorded.
	ErrCommitUnknown = errors.New("dedupe: handler succeeded, commit unknown")
	// ErrStoreDown is returned when the store gave no answer to a claim, or when
	// the circuit is open because it gave none lately. The handler did not run.
	ErrStoreDown = errors.New("dedupe: claim store gives no answer")
	// ErrNoID is returned for a message without an id, or with one that cannot
	// be used, under MissingID Reject.
	ErrNoID = errors.New("dedupe: message has no usable id")
	// ErrBusy is returned when Options.MaxLive messages are in progress.
	ErrBusy = errors.New("dedupe: too many messages in progress")
	// ErrClosed is returned after Close, and is the cause of a handler's context
	// that Close could not wait for.
	ErrClosed = errors.New("dedupe: closed")
)

// PendingError is the ErrPending of Do, Wrap and WrapBatch. errors.As finds it in
// what they return, for callers that have somebody to tell.
type PendingError struct {
	// Remaining is how long the owner's lease holds if it is not extended, or how
	// long until the key may be claimed; at most Options.Lease. The settlement's
	// delay is this and some jitter.
	Remaining time.Duration
}

// Error says what ErrPending says.
func (e *PendingError) Error() string { return ErrPending.Error() }

// Is reports whether target is ErrPending.
func (e *PendingError) Is(target error) bool { return target == ErrPending }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return "permanent: " + e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent returns an error that says that no retry will help: the message goes
// to the dead-letter sink, the key becomes dead, and the bus is told not to
// deliver it again. It wraps err; Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// isPermanent reports whether a handler's error asks for no further attempt.
func isPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p) || bus.SettlementOf(err).Action == bus.ActionReject
}
