package sqlstore

import (
	"database/sql"
	"time"

	"github.com/oncebus/once/claim"
)

// Flags of a row.
const (
	flagOmitted = 1 << iota
	flagRecovered
	flagResult
)

// row is a record as the table has it. What a state has no use for is NULL, so
// that a done row is small.
type row struct {
	state, fence, expires, flags int64
	attempt, deadline, retention int64 // 0 is NULL
	// nil is NULL
	token, fingerprint, namespace, consumer, id, result, reason []byte
}

// columns are those of a row after its digest, in the order of cells and scan.
var columns = [...]string{
	"state", "fence", "expires", "flags", "attempt", "deadline", "retention",
	"token", "fingerprint", "namespace", "consumer", "message_id", "result", "reason",
}

// cell is a value of a row: a number, bytes, or NULL.
type cell struct {
	number int64
	bytes  []byte
	kind   uint8
}

const (
	cellNull uint8 = iota
	cellNumber
	cellBytes
)

func number(n int64) cell { return cell{number: n, kind: cellNumber} }

func numberOrNull(n int64) cell {
	if n == 0 {
		return cell{}
	}
	return number(n)
}

func bytesOrNull(b []byte) cell {
	if b == nil {
		return cell{}
	}
	return cell{bytes: b, kind: cellBytes}
}

// cells returns the values of the columns.
func (r *row) cells() [len(columns)]cell {
	return [...]cell{
		number(r.state), number(r.fence), number(r.expires), number(r.flags),
		numberOrNull(r.attempt), numberOrNull(r.deadline), numberOrNull(r.retention),
		bytesOrNull(r.token), bytesOrNull(r.fingerprint), bytesOrNull(r.namespace), bytesOrNull(r.consumer),
		bytesOrNull(r.id), bytesOrNull(r.result), bytesOrNull(r.reason),
	}
}

// scan reads what a read statement answers: the time, the digest, the columns.
func (r *row) scan(scan func(dest ...any) error, now *claim.Instant, digest *[]byte) error {
	var state, fence, expires, flags, attempt, deadline, retention sql.NullInt64
	err := scan((*int64)(now), digest, &state, &fence, &expires, &flags, &attempt, &deadline, &retention,
		&r.token, &r.fingerprint, &r.namespace, &r.consumer, &r.id, &r.result, &r.reason)
	r.state, r.fence, r.expires, r.flags = state.Int64, fence.Int64, expires.Int64, flags.Int64
	r.attempt, r.deadline, r.retention = attempt.Int64, deadline.Int64, retention.Int64
	return err
}

// size is about how many bytes the row takes in a statement, before it is
// written as hexadecimal digits.
func (r *row) size() int {
	return 100 + len(r.namespace) + len(r.consumer) + len(r.id) + len(r.result) + len(r.reason)
}

// newRow returns rec as a row. An absent record keeps its fence, and is over.
func newRow(rec *claim.Record) row {
	r := row{
		state: int64(rec.State), fence: int64(rec.Fence), expires: int64(rec.Expires),
		attempt: int64(rec.Attempt), deadline: int64(rec.Deadline), retention: rec.Retention.Microseconds(),
	}
	if rec.Omitted {
		r.flags |= flagOmitted
	}
	if rec.Recovered {
		r.flags |= flagRecovered
	}
	if rec.Result != nil {
		r.flags |= flagResult
		r.result = rec.Result
	}
	if !rec.Token.IsZero() {
		r.token = rec.Token[:]
	}
	if !rec.Fingerprint.IsZero() {
		r.fingerprint = rec.Fingerprint[:]
	}
	if !rec.Key.IsZero() {
		r.namespace, r.consumer, r.id = []byte(rec.Key.Namespace()), []byte(rec.Key.Consumer()), []byte(rec.Key.ID())
	}
	if rec.Reason != "" {
		r.reason = []byte(rec.Reason)
	}
	return r
}

// record returns the row of digest as a record. ok is false for one that this
// version did not write.
func (r *row) record(digest claim.Digest) (rec claim.Record, ok bool) {
	rec = claim.Record{
		State: claim.State(r.state), Fence: uint64(r.fence), Expires: claim.Instant(r.expires),
		Attempt: int(r.attempt), Deadline: claim.Instant(r.deadline), Retention: time.Duration(r.retention) * time.Microsecond,
		Omitted: r.flags&flagOmitted != 0, Recovered: r.flags&flagRecovered != 0, Reason: string(r.reason),
	}
	if r.state < 0 || r.state > int64(claim.StateDead) || r.fence < 0 || r.flags < 0 || r.flags >= 2*flagResult ||
		!fill(rec.Fingerprint[:], r.fingerprint) {
		return rec, false
	}
	switch rec.State {
	case claim.StateAbsent:
		return rec, true
	case claim.StateDone:
		// A row of the Inbox keeps the token of who wrote it.
		if r.flags&flagResult != 0 {
			rec.Result = append([]byte{}, r.result...)
		}
		return rec, true
	}
	key, err := claim.NewKey(string(r.namespace), string(r.consumer), claim.MessageID(r.id))
	rec.Key = key
	return rec, err == nil && key.Digest() == digest && fill(rec.Token[:], r.token)
}

// fill copies src, of the same size or NULL, to dst.
func fill(dst, src []byte) bool {
	return len(src) == 0 || copy(dst, src) == len(src) && len(src) == len(dst)
}

// change is a row to be written.
type change struct {
	digest claim.Digest
	there  bool // a row was read, and is to be updated
	old    row
	next   row
	// applied says that the row was as it had been read, and is now next.
	applied bool
}

// seen are the columns of the old row by which an update knows that nothing has
// changed. No two records that a key ever has agree in all of them: every grant
// has another fence, and what happens to a grant changes the state, the attempt,
// the deadline or the end.
var seen = [...]string{"state", "fence", "expires", "attempt", "deadline"}

func (c *change) seen() [len(seen)]int64 {
	return [...]int64{c.old.state, c.old.fence, c.old.expires, c.old.attempt, c.old.deadline}
}
