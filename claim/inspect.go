package claim

import "context"

// Inspector is implemented by stores that let an operator look and repair. It
// is not used while messages are handled.
type Inspector interface {
	// Get returns the record of key, with State Absent when there is none.
	Get(ctx context.Context, key Key) (Entry, error)

	// List returns some of the records that match, and the cursor from which to
	// go on; an empty cursor starts, and an empty one in the answer is the end. A
	// limit below 1 is ErrInvalid.
	// A page may be empty or hold more than limit. Records that exist throughout
	// the listing are returned at least once; done records carry their digest
	// but no key, because stores keep no ids of finished messages.
	List(ctx context.Context, filter Filter, cursor string, limit int) (page []Entry, next string, err error)

	// Forget removes the record that the operator saw, so that the next delivery
	// starts afresh. Only State and Fence of seen are compared. It returns ErrLost
	// when the record has moved on.
	Forget(ctx context.Context, key Key, seen Record) error

	// Revive makes the done, dead, released or parked record that the operator
	// saw claimable at once, with attempts counted from zero and a fence that is
	// not below any before, so that the next delivery runs exactly once more. Only
	// State and Fence of seen are compared: an owner that finishes late may keep
	// its fence, and what was parked a moment ago may be done. It returns ErrLost when the record has
	// moved on or is running.
	Revive(ctx context.Context, key Key, seen Record) error
}

// Entry is a record as an operator sees it.
type Entry struct {
	Record
	// Digest identifies the record when it has no Key.
	Digest Digest
	// Now is the store's time at which the record was read. Compare Deadline and
	// Expires with it, never with the local clock.
	Now Instant
}

// Filter selects records. The zero Filter selects all.
type Filter struct {
	// State selects one state. Zero: all.
	State State
	// Namespace and Consumer select by the record's key when they are not empty;
	// done records have none and then do not match.
	Namespace string
	Consumer  string
}

// Match reports whether the filter selects r.
func (f Filter) Match(r *Record) bool {
	return (f.State == 0 || f.State == r.State) &&
		(f.Namespace == "" || f.Namespace == r.Key.Namespace()) &&
		(f.Consumer == "" || f.Consumer == r.Key.Consumer())
}
