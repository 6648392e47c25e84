package claim

import "strconv"

// Outcome is a store's answer to TryClaim. The zero Outcome is invalid: it is
// what stands in a Verdict that came with an error.
type Outcome uint8

// The outcomes of TryClaim.
const (
	// Claimed grants the claim: run the handler.
	Claimed Outcome = iota + 1
	// Pending means that another owner's lease is alive, or that a released
	// key may not be claimed yet: come back after Verdict.Remaining.
	Pending
	// Done means that a handler finished for this key: acknowledge.
	Done
	// Dead means that the key was given up for good: reject.
	Dead
	// Mismatch means that the id is known with another payload: reject.
	Mismatch
	// Parked means that an owner vanished with its lease and that the policy
	// forbids a second run without an operator's word.
	Parked
	// Stale means that this token's claim has ended: take a new token.
	Stale
)

var outcomeNames = [...]string{
	Claimed: "claimed", Pending: "pending", Done: "done", Dead: "dead",
	Mismatch: "mismatch", Parked: "parked", Stale: "stale",
}

// String returns the outcome in lower case, or "outcome(n)" for an invalid one.
func (o Outcome) String() string { return nameOf(outcomeNames[:], int(o), "outcome") }

// Valid reports whether o is one of the outcomes above.
func (o Outcome) Valid() bool { return o >= Claimed && o <= Stale }

func nameOf(names []string, i int, kind string) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return kind + "(" + strconv.Itoa(i) + ")"
}
