package redisstore

import (
	"strings"
	"time"

	"github.com/oncebus/once/claim"
)

// reply reads the answer of state.lua. Its methods report whether what they
// were to read was there; they never read past the end.
type reply struct {
	rest string
	now  claim.Instant
}

// open reads the head of an answer: the nonce of the call that it answers, and
// the server's time.
func (r *reply) open(nonce []byte) bool {
	got, ok := r.take(len(nonce))
	if !ok || got != string(nonce) {
		return false
	}
	now, ok := r.number()
	r.now = claim.Instant(now)
	return ok
}

// take reads n bytes.
func (r *reply) take(n int) (string, bool) {
	if n < 0 || n > len(r.rest) {
		return "", false
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s, true
}

// number reads a cell as a number.
func (r *reply) number() (int64, bool) {
	s, ok := r.take(cellBytes)
	if !ok {
		return 0, false
	}
	return parseCell(s)
}

// text reads a length and as many bytes.
func (r *reply) text() (string, bool) {
	n, ok := r.number()
	if !ok || n > int64(len(r.rest)) {
		return "", false
	}
	return r.take(int(n))
}

// parseCell returns the number in a cell. It has no sign and is one that Lua
// keeps exactly; as microseconds it is a duration that does not overflow.
func parseCell(s string) (int64, bool) {
	s = strings.TrimLeft(s, " ")
	if s == "" || len(s) > cellBytes {
		return 0, false
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, n <= maxExact
}

// answer reads one operation's answer and sets it in op. It reports false when
// the reply is not readable; op's answer is then still empty. refusal is the
// error reply of a command that the server did not let the script run.
func (r *reply) answer(op *claim.Op) (refusal string, ok bool) {
	letter, ok := r.take(1)
	if !ok {
		return "", false
	}
	switch letter[0] {
	case 'B':
		op.Fail(errRecord)
		return "", true
	case 'E':
		message, ok := r.text()
		return message, ok && message != ""
	case 'L':
		if op.Kind == claim.OpTryClaim {
			op.Fail(errLate)
		} else {
			op.Fail(claim.ErrLost)
		}
		return "", true
	}
	if op.Kind == claim.OpTryClaim {
		v, ok := r.verdict(letter[0], op)
		if ok {
			op.Verdict = v
		}
		return "", ok
	}
	switch letter[0] {
	case 'O':
	case 'R':
		if op.Kind != claim.OpMarkDone {
			return "", false
		}
		op.Recovered = true
	default:
		return "", false
	}
	return "", true
}

// verdict reads what follows the letter of an answer to TryClaim.
func (r *reply) verdict(letter byte, op *claim.Op) (v claim.Verdict, ok bool) {
	switch letter {
	case 'N', 'C', 'T', 'A':
		return r.claimed(letter, op)
	case 'P':
		v.Outcome = claim.Pending
		v.Remaining, ok = r.until()
		return v, ok
	case 'F', 'D':
		return r.done(letter)
	case 'X':
		v.Outcome = claim.Dead
		if v.Attempt, ok = r.attempt(); ok {
			v.Reason, ok = r.text()
		}
		return v, ok
	case 'K':
		v.Outcome = claim.Parked
		v.Attempt, ok = r.attempt()
		return v, ok
	case 'S':
		v.Outcome = claim.Stale
	case 'M':
		v.Outcome = claim.Mismatch
	default:
		return v, false
	}
	return v, true
}

func (r *reply) claimed(letter byte, op *claim.Op) (v claim.Verdict, ok bool) {
	v.Outcome = claim.Claimed
	v.Takeover = letter == 'T'
	v.Grant.Token = op.Request.Token
	v.Remaining = op.Request.TTL
	if letter == 'N' {
		v.Grant.Attempt, v.Grant.Fence = 1, uint64(r.now)
		return v, r.now > 0
	}
	left, ok := r.until()
	if !ok {
		return v, false
	}
	if letter == 'A' {
		v.Remaining = left
	}
	if v.Grant.Attempt, ok = r.attempt(); !ok || v.Grant.Attempt == 0 {
		return v, false
	}
	_, ok = r.number() // the retention, which the caller knows
	fence, ok2 := r.number()
	v.Grant.Fence = uint64(fence)
	return v, ok && ok2 && fence > 0
}

func (r *reply) done(letter byte) (v claim.Verdict, ok bool) {
	v.Outcome = claim.Done
	if v.Remaining, ok = r.duration(); !ok {
		return v, false
	}
	if letter == 'F' {
		return v, true
	}
	flags, ok := r.take(1)
	if !ok || flags[0] < '0' || flags[0] > '7' {
		return v, false
	}
	v.Omitted = (flags[0]-'0')&flagOmitted != 0
	result, ok := r.text()
	if (flags[0]-'0')&flagResult != 0 {
		v.Result = []byte(result)
	} else if result != "" {
		return v, false
	}
	return v, ok
}

// until reads a moment on the server's clock that is to come and returns how far
// off it is.
func (r *reply) until() (time.Duration, bool) {
	n, ok := r.number()
	d := claim.Instant(n).Sub(r.now)
	return d, ok && d > 0
}

func (r *reply) duration() (time.Duration, bool) {
	n, ok := r.number()
	return time.Duration(n) * time.Microsecond, ok
}

// attempt reads a count of grants.
func (r *reply) attempt() (int, bool) {
	n, ok := r.number()
	return int(n), ok
}
