package dedupe

import "strconv"

// MissingID says what happens to a message that has no id.
type MissingID uint8

// The policies for messages without an id.
const (
	// RejectMissing sends the message to the dead-letter sink and rejects it.
	RejectMissing MissingID = iota
	// HashPayload uses the SHA-256 of the payload as the id.
	HashPayload
	// UsePosition uses the place where the bus keeps the message as the id, and
	// rejects the message when the bus has none.
	UsePosition
	// PassThrough runs the handler without a claim and counts it.
	PassThrough
)

// String returns the policy's name.
func (p MissingID) String() string {
	return policyName(p, "RejectMissing", "HashPayload", "UsePosition", "PassThrough")
}

// StoreDown says what happens to a message while the store gives no answer.
type StoreDown uint8

// The policies for a store that is down.
const (
	// FailClosed retries the message later: late rather than twice.
	FailClosed StoreDown = iota
	// FailOpen runs the handler without a claim and counts it: twice rather than
	// late.
	FailOpen
)

// String returns the policy's name.
func (p StoreDown) String() string { return policyName(p, "FailClosed", "FailOpen") }

// CommitUnknown says what the bus is told when the handler succeeded and the
// store never said whether the completion is recorded.
type CommitUnknown uint8

// The policies for an unknown commit.
const (
	// NoAck tells the bus nothing. The redelivery finds the key done; or, in this
	// process, it finds the finished work and commits it again; or, elsewhere
	// and after the lease, it runs the handler again.
	NoAck CommitUnknown = iota
	// AckAnyway acknowledges. The message is gone from the bus; a copy that was
	// published twice may run the handler again.
	AckAnyway
)

// String returns the policy's name.
func (p CommitUnknown) String() string { return policyName(p, "NoAck", "AckAnyway") }

func policyName[P ~uint8](p P, names ...string) string {
	if int(p) < len(names) {
		return names[p]
	}
	return "policy(" + strconv.Itoa(int(p)) + ")"
}
