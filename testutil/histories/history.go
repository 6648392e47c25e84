package histories

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/oncebus/once/claim"
)

// Never is the Return of an operation whose outcome is not known: it may take
// effect at any later time, or not at all.
const Never time.Duration = math.MaxInt64

// Operation is one operation as its client saw it.
type Operation struct {
	// Client is the number of the client in its recording, from 0.
	Client int
	// Op has the arguments and the answer.
	Op claim.Op
	// Call and Return are times since the recording began. Return is Never when
	// the answer is ErrUnknown, or when there was none.
	Call, Return time.Duration
	// Copies is how many further copies of the operation the client may have sent
	// without saying so. Each may take effect once, at any time after Call.
	Copies int
	// EarlyClock is the Client's.
	EarlyClock bool
}

// Unknown reports whether the operation may or may not have happened.
func (o *Operation) Unknown() bool { return o.Return == Never }

// NotDone reports whether the store said that the operation definitely did not
// happen.
func (o *Operation) NotDone() bool { return errors.Is(o.Op.Err, claim.ErrUnavailable) }

// Note is something that happened beside the clients, such as a fault.
type Note struct {
	At   time.Duration
	Text string
}

// History is what was recorded.
type History struct {
	// Operations are in the order of their calls.
	Operations []Operation
	// Notes are in the order of their times.
	Notes []Note
}

// byKey returns the operations of each key, in the order of the keys' first
// calls.
func (h *History) byKey() [][]Operation {
	at := map[claim.Key]int{}
	var keys [][]Operation
	for _, o := range h.Operations {
		i, ok := at[o.Op.Key]
		if !ok {
			i = len(keys)
			at[o.Op.Key] = i
			keys = append(keys, nil)
		}
		keys[i] = append(keys[i], o)
	}
	return keys
}

// sort puts operations and notes in order.
func (h *History) sort() {
	slices.SortStableFunc(h.Operations, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(h.Notes, func(a, b Note) int { return cmp.Compare(a.At, b.At) })
}

// Counts sums up a history, or several.
type Counts struct {
	// Histories and Keys are how many there were; each key is checked by itself.
	Histories, Keys int
	// Operations are all operations. Unknown and NotDone are those without an
	// answer and those that were refused; the others were answered.
	Operations, Unknown, NotDone int
	// Copies are the further sends that were reckoned with.
	Copies int
	// Grants, Takeovers and Done are answers: new or repeated grants, those that
	// were takeovers, and completions that were accepted.
	Grants, Takeovers, Done int
}

// Counts counts what is in the history.
func (h *History) Counts() Counts {
	c := Counts{Histories: 1, Keys: len(h.byKey()), Operations: len(h.Operations)}
	for i := range h.Operations {
		o := &h.Operations[i]
		c.Copies += o.Copies
		switch {
		case o.Unknown():
			c.Unknown++
		case o.NotDone():
			c.NotDone++
		case o.Op.Verdict.Outcome == claim.Claimed:
			c.Grants++
			if o.Op.Verdict.Takeover {
				c.Takeovers++
			}
		case o.Op.Kind == claim.OpMarkDone && o.Op.Err == nil:
			c.Done++
		}
	}
	return c
}

// Add returns the sums.
func (c Counts) Add(d Counts) Counts {
	return Counts{
		Histories: c.Histories + d.Histories, Keys: c.Keys + d.Keys,
		Operations: c.Operations + d.Operations, Unknown: c.Unknown + d.Unknown, NotDone: c.NotDone + d.NotDone,
		Copies: c.Copies + d.Copies,
		Grants: c.Grants + d.Grants, Takeovers: c.Takeovers + d.Takeovers, Done: c.Done + d.Done,
	}
}
