package faultstore

import "github.com/oncebus/once/claim"

// Fault is what happens to an operation on its way.
type Fault uint8

// The faults.
const (
	// None lets the operation through. As a rule it spares the next operations
	// from the rules that follow.
	None Fault = iota
	// Fail answers ErrUnavailable; the inner store sees nothing.
	Fail
	// LoseRequest answers ErrUnknown; the inner store sees nothing.
	LoseRequest
	// LoseReply lets the inner store carry the operation out and answers
	// ErrUnknown.
	LoseReply
	// Block waits until the context ends and answers ErrUnknown; the inner store
	// sees nothing. An operation whose context never ends hangs.
	Block
	// Twice lets the inner store carry the operation out twice and answers as
	// the second time: a network or a client that sends again. In a batch both
	// copies travel, one behind the other.
	Twice
	// Scripted answers the error of a rule made with Answer; the inner store
	// sees nothing. It stands in the history and cannot be given to On.
	Scripted
)

var faultNames = [...]string{
	None: "none", Fail: "fail", LoseRequest: "lose request", LoseReply: "lose reply",
	Block: "block", Twice: "twice", Scripted: "scripted",
}

// String returns the fault in words.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return "unknown fault"
}

// Any stands for every kind of operation.
const Any claim.OpKind = 0

// Always as a count makes a rule strike until Reset.
const Always = -1

// rule strikes the next operations of its kind.
type rule struct {
	kind  claim.OpKind
	fault Fault
	err   error // of Scripted
	left  int   // Always: until Reset
}

// Call is one operation that reached the Store.
type Call struct {
	// Op is a copy of the operation, with the answer that its caller got.
	Op claim.Op
	// Fault is what struck it.
	Fault Fault
	// Held is set when it waited for the release of a Hold.
	Held bool
	// Late is set when it was carried out after its caller had given up. The
	// answer in Op is then one that nobody got.
	Late bool
}

// matches reports whether a rule or a hold for kind is for op.
func matches(kind claim.OpKind, op *claim.Op) bool { return kind == Any || kind == op.Kind }

// strike finds what befalls op and uses up one strike of the rule. The caller
// holds s.mu.
func (s *Store) strike(op *claim.Op) (Fault, error) {
	for _, r := range s.rules {
		if r.left == 0 || !matches(r.kind, op) {
			continue
		}
		if r.left > 0 {
			r.left--
		}
		return r.fault, r.err
	}
	return None, nil
}
