package redisstore

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/oncebus/once/claim"
)

// cellBytes is the size of a cell: a number in decimal with blanks before it,
// or 16 raw bytes. Cells make a field of an operation, a record or an answer a
// substring at a known place, in Lua and in Go.
const cellBytes = 16

// maxExact is the largest number up to which Lua, which counts in doubles, has
// them all. It has 16 digits, and so fits a cell. op.Validate keeps the numbers
// of an operation below it.
const maxExact = 1 << 53

// Flags of a done record.
const (
	flagOmitted = 1 << iota
	flagRecovered
	flagResult
)

// names makes the keys of records in Redis.
type names struct {
	prefix string
	// tagged says that a hash tag keeps each record in the slot of its packed
	// layout's.
	tagged bool
	// positions is the letter of positions.lua, or zero where places are not heeded.
	positions byte
}

// append appends the key of k: the prefix, the tag, and the raw digest.
func (n names) append(b []byte, k claim.Key) []byte {
	d := k.Digest()
	b = append(b, n.prefix...)
	if n.tagged {
		b = appendTag(b, d[0])
	}
	return append(b, d[:]...)
}

// bytes is the length of what stands before the digest.
func (n names) bytes() int {
	if n.tagged {
		return len(n.prefix) + tagBytes
	}
	return len(n.prefix)
}

// letters name the kinds of operations to state.lua.
var letters = [...]byte{
	claim.OpTryClaim: 'C', claim.OpExtend: 'E', claim.OpMarkDone: 'D', claim.OpMarkDead: 'X',
	claim.OpRelease: 'R', claim.OpForget: 'F', claim.OpRevive: 'V',
}

// headBytes is the size of the longest head: a letter, four cells, and a number.
// Those of MarkDone go on with stampBytes for each operation.
const (
	headBytes  = 1 + 5*cellBytes
	stampBytes = 4
	// ownerBytes is the size of a fence and a token.
	ownerBytes = 2 * cellBytes
)

// sameTerms reports whether a and b may stand in one run, under one head.
func sameTerms(a, b *claim.Op) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case claim.OpTryClaim:
		p, q := &a.Request, &b.Request
		return p.TTL == q.TTL && p.MaxAttempts == q.MaxAttempts && p.Retention == q.Retention && p.Takeover == q.Takeover &&
			p.Fingerprint.IsZero() == q.Fingerprint.IsZero()
	case claim.OpExtend, claim.OpRelease:
		return a.TTL == b.TTL
	case claim.OpMarkDone:
		return a.Completion.Retention == b.Completion.Retention
	}
	return true
}

// appendHead appends the head of a run: of ops, which are on the same terms.
func appendHead(b []byte, ops []*claim.Op) []byte {
	op := ops[0]
	letter := letters[op.Kind]
	if op.Kind == claim.OpTryClaim {
		if op.Request.Takeover == claim.Park {
			letter = 'K'
		}
		if !op.Request.Fingerprint.IsZero() {
			letter += 'a' - 'A'
		}
	}
	b = appendNumber(append(b, letter), int64(len(ops)))
	switch op.Kind {
	case claim.OpTryClaim:
		b = appendMicros(b, op.Request.TTL)
		b = appendNumber(b, int64(op.Request.MaxAttempts))
		b = appendMicros(b, op.Request.Retention)
		return strconv.AppendInt(b, lifeOf(&op.Request), 10)
	case claim.OpExtend, claim.OpRelease:
		return appendMicros(b, op.TTL)
	case claim.OpMarkDone:
		return appendStamps(appendMicros(b, op.Completion.Retention), ops)
	}
	return b
}

// appendAnew appends the head of a run of claims that are to get another fence.
func appendAnew(b []byte, ops []*claim.Op) []byte {
	return appendMicros(appendNumber(append(b, 'U'), int64(len(ops))), ops[0].Request.TTL)
}

// appendStamps appends the highest fence of ops and the stamp of each token.
func appendStamps(b []byte, ops []*claim.Op) []byte {
	highest := uint64(0)
	for _, op := range ops {
		highest = max(highest, op.Grant.Fence)
	}
	b = appendNumber(b, int64(highest))
	for _, op := range ops {
		b = strconv.AppendUint(b, op.Grant.Token.Stamp(), 10)
	}
	return b
}

// appendBody appends what op has for itself. op is valid.
func appendBody(b []byte, op *claim.Op) []byte {
	switch op.Kind {
	case claim.OpTryClaim:
		b = append(b, op.Request.Token[:]...)
		if !op.Request.Fingerprint.IsZero() {
			b = append(b, op.Request.Fingerprint[:]...)
		}
		return appendID(b, op.Key)
	case claim.OpExtend:
		return appendOwner(b, op.Grant)
	case claim.OpMarkDone:
		return appendCompletion(appendOwner(b, op.Grant), &op.Completion)
	case claim.OpMarkDead:
		return append(appendOwner(b, op.Grant), claim.CutReason(op.Reason)...)
	case claim.OpRelease:
		b = appendNumber(appendOwner(b, op.Grant), int64(op.Grant.Attempt))
		return appendID(b, op.Key)
	case claim.OpForget:
		return appendSeen(b, op)
	default: // claim.OpRevive; Validate let nothing else pass
		return appendID(appendSeen(b, op), op.Key)
	}
}

// appendOwner appends what a record is held by.
func appendOwner(b []byte, g claim.Grant) []byte {
	return append(appendNumber(b, int64(g.Fence)), g.Token[:]...)
}

// appendCompletion appends c, or nothing when nothing of it has to be kept.
func appendCompletion(b []byte, c *claim.Completion) []byte {
	result, flags := c.Result, 0
	if c.Omitted {
		flags |= flagOmitted
	}
	switch {
	case len(result) > claim.MaxResultBytes:
		result = nil
		flags |= flagOmitted
	case result != nil:
		flags |= flagResult
	}
	if flags == 0 && c.Fingerprint.IsZero() {
		return b
	}
	b = append(b, c.Fingerprint[:]...)
	b = append(b, '0'+byte(flags))
	return append(b, result...)
}

// marks are the first bytes of the records that an operator may see, by their
// states.
var marks = [...]byte{claim.StatePending: 'P', claim.StateReleased: 'R', claim.StateDone: 'D', claim.StateDead: 'X'}

// appendSeen appends the fence and the state that an operator saw. The fence may
// be any number; no record has one over claim.MaxFence, nor this cell.
func appendSeen(b []byte, op *claim.Op) []byte {
	if op.Grant.Fence > claim.MaxFence {
		b = append(b, "no fence at all!"...)
	} else {
		b = appendNumber(b, int64(op.Grant.Fence))
	}
	mark := byte(0)
	if int(op.Seen) < len(marks) {
		mark = marks[op.Seen]
	}
	return append(b, mark)
}

// appendMicros cuts d to the microsecond, as claim.Instant.Add does.
func appendMicros(b []byte, d time.Duration) []byte {
	return appendNumber(b, int64(d/time.Microsecond))
}

// appendNumber appends n, which is not negative, as a cell.
func appendNumber(b []byte, n int64) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], n, 10)
	const blanks = "                "
	b = append(b, blanks[:cellBytes-len(text)]...)
	return append(b, text...)
}

// appendID appends what an operator needs to know a record by: namespace,
// consumer and message id, each preceded by its length. No id is empty, so that a
// length of zero is free to say that the bytes of a UUID follow.
func appendID(b []byte, k claim.Key) []byte {
	b = appendPart(appendPart(b, k.Namespace()), k.Consumer())
	if raw, ok := uuidBytes(string(k.ID())); ok {
		return append(append(b, 0), raw[:]...)
	}
	return appendPart(b, string(k.ID()))
}

// appendPart appends s and its length before it.
func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// uuidBytes returns the bytes of a UUID in its canonical form: 8-4-4-4-12 digits
// in lower case.
func uuidBytes(s string) (raw [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return raw, false
	}
	at := 0
	for i := range raw {
		if s[at] == '-' {
			at++
		}
		high, low := nibbles[s[at]], nibbles[s[at+1]]
		if high|low > 15 {
			return raw, false
		}
		raw[i] = high<<4 | low
		at += 2
	}
	return raw, true
}

// nibbles are the values of hexadecimal digits in lower case, and for all other
// bytes more than such a digit has.
var nibbles = func() (values [256]byte) {
	for c := range values {
		values[c] = 0xff
	}
	for value, c := range "0123456789abcdef" {
		values[c] = byte(value)
	}
	return values
}()
