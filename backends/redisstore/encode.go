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

// appendKey appends the key of k in Redis: the prefix and the raw digest.
func appendKey(b []byte, prefix string, k claim.Key) []byte {
	d := k.Digest()
	return append(append(b, prefix...), d[:]...)
}

// appendOp appends op as state.lua reads it. op is valid.
func appendOp(b []byte, op *claim.Op) []byte {
	g := &op.Grant
	switch op.Kind {
	case claim.OpTryClaim:
		return appendTryClaim(b, op)
	case claim.OpExtend:
		b = appendGrant(append(b, 'E'), g.Token, g.Fence)
		return appendMicros(b, op.TTL)
	case claim.OpMarkDone:
		return appendMarkDone(b, op)
	case claim.OpMarkDead:
		b = appendGrant(append(b, 'X'), g.Token, g.Fence)
		return append(b, claim.CutReason(op.Reason)...)
	case claim.OpRelease:
		b = appendGrant(append(b, 'R'), g.Token, g.Fence)
		b = appendMicros(b, op.TTL)
		b = appendNumber(b, int64(g.Attempt))
		return appendID(b, op.Key)
	case claim.OpForget:
		return appendSeen(append(b, 'F'), op)
	default: // claim.OpRevive; Validate let nothing else pass
		return appendID(appendSeen(append(b, 'V'), op), op.Key)
	}
}

// seenLetters are the states that a record may show to an operator.
var seenLetters = [...]byte{claim.StatePending: 'P', claim.StateReleased: 'R', claim.StateDone: 'D', claim.StateDead: 'X'}

// appendSeen appends the state and the fence that an operator saw, in the place
// of a grant. The fence may be any number; no record has one over
// claim.MaxFence, nor this cell.
func appendSeen(b []byte, op *claim.Op) []byte {
	var state claim.Token
	if int(op.Seen) < len(seenLetters) {
		state[0] = seenLetters[op.Seen]
	}
	if op.Grant.Fence > claim.MaxFence {
		return append(append(b, state[:]...), "no fence at all!"...)
	}
	return appendGrant(b, state, op.Grant.Fence)
}

func appendTryClaim(b []byte, op *claim.Op) []byte {
	req := &op.Request
	letter := byte('C')
	if req.Takeover == claim.Park {
		letter = 'K'
	}
	b = append(b, letter)
	b = append(b, req.Token[:]...)
	b = appendMicros(b, req.TTL)
	b = appendNumber(b, int64(req.MaxAttempts))
	b = appendMicros(b, req.Retention)
	b = append(b, req.Fingerprint[:]...)
	return appendID(b, op.Key)
}

func appendMarkDone(b []byte, op *claim.Op) []byte {
	c := &op.Completion
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
	b = appendGrant(append(b, 'D'), op.Grant.Token, op.Grant.Fence)
	b = appendMicros(b, c.Retention)
	b = append(b, c.Fingerprint[:]...)
	b = append(b, '0'+byte(flags))
	return append(b, result...)
}

func appendGrant(b []byte, t claim.Token, fence uint64) []byte {
	return appendNumber(append(b, t[:]...), int64(fence))
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
// consumer and message id, each preceded by its length.
func appendID(b []byte, k claim.Key) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.Namespace())))
	b = append(b, k.Namespace()...)
	b = binary.AppendUvarint(b, uint64(len(k.Consumer())))
	b = append(b, k.Consumer()...)
	b = binary.AppendUvarint(b, uint64(len(k.ID())))
	return append(b, k.ID()...)
}
