package claim

import "time"

// Instant is a moment on a store's clock, in microseconds since the Unix epoch.
type Instant int64

// Add returns the instant d later, to the microsecond.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d/time.Microsecond) }

// Sub returns the duration from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t-u) * time.Microsecond }

// State is the state of a record.
type State uint8

// The states. An absent record is the zero Record.
const (
	StateAbsent State = iota
	// StatePending is claimed; the lease may be over.
	StatePending
	// StateReleased was given back and is claimable, at once or from Deadline on.
	StateReleased
	// StateDone is finished.
	StateDone
	// StateDead is given up for good.
	StateDead
)

var stateNames = [...]string{
	StateAbsent: "absent", StatePending: "pending", StateReleased: "released",
	StateDone: "done", StateDead: "dead",
}

// String returns the state in lower case.
func (s State) String() string { return nameOf(stateNames[:], int(s), "state") }

// Record is what a store keeps for a key. The zero Record is absent.
type Record struct {
	State State
	// Key is kept while an operator may need it: zero in a done record.
	Key Key
	// Token is the last claimant's; zero in a done record.
	Token Token
	// Fence is that of the last grant. In a done record it says who finished, by
	// the fence of that grant or, where nothing else is kept, by its Token.Stamp, or
	// not at all: zero, where a store remembers the place alone. Show it to Forget and
	// Revive, and compare it with no other fence.
	Fence uint64
	// Attempt counts grants; zero in a done record.
	Attempt int
	// Deadline is the end of the lease of a pending record, and the moment from
	// which a released one is claimable.
	Deadline Instant
	// Retention is how long the record outlives Deadline; zero in a done record.
	Retention time.Duration
	// Expires is when the store forgets the record.
	Expires Instant
	// Fingerprint is the payload's, or zero.
	Fingerprint Fingerprint
	// Result and Omitted are a done record's, as in Completion.
	Result  []byte
	Omitted bool
	// Recovered marks a done record that was written after the store had lost
	// the claim.
	Recovered bool
	// Reason is a dead record's.
	Reason string
}
