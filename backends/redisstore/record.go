package redisstore

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/oncebus/once/claim"
)

// decodeRecord reads the value of a record with digest d. expires is the end of
// its life as Redis keeps it. ok is false for anything that this version did not
// write.
func decodeRecord(value string, d claim.Digest, expires claim.Instant) (rec claim.Record, ok bool) {
	if value == "" {
		return rec, false
	}
	rec.Expires = expires
	r := reply{rest: value[1:]}
	switch mark := value[0]; mark {
	case 'P', 'R', 'X':
		ok = decodeOpen(&rec, &r, mark, d)
	case 'p', 'q':
		ok = decodeFresh(&rec, &r, mark == 'q', d)
	case 'D':
		ok = decodeDone(&rec, &r)
	default:
		rec.State = claim.StateDone
		var fence int64
		fence, ok = parseCell(value)
		ok = ok && value[0] != ' ' && value[0] != '0'
		rec.Fence = uint64(fence)
	}
	if !ok {
		return claim.Record{}, false
	}
	return rec, true
}

func decodeDone(rec *claim.Record, r *reply) bool {
	rec.State = claim.StateDone
	fence, ok := r.number()
	fingerprint, ok2 := r.take(len(rec.Fingerprint))
	flags, ok3 := r.take(1)
	if !ok || !ok2 || !ok3 || flags[0] < '0' || flags[0] > '7' {
		return false
	}
	rec.Fence = uint64(fence)
	copy(rec.Fingerprint[:], fingerprint)
	bits := flags[0] - '0'
	rec.Omitted = bits&flagOmitted != 0
	rec.Recovered = bits&flagRecovered != 0
	if bits&flagResult == 0 {
		return r.rest == ""
	}
	rec.Result = []byte(r.rest)
	return true
}

// decodeFresh reads a record that a fresh claim left.
func decodeFresh(rec *claim.Record, r *reply, fingerprint bool, d claim.Digest) bool {
	deadline, ok := r.number()
	retention, ok2 := r.number()
	fence, ok3 := r.number()
	token, ok4 := r.take(len(rec.Token))
	if !ok || !ok2 || !ok3 || !ok4 {
		return false
	}
	if fingerprint {
		print, ok := r.take(len(rec.Fingerprint))
		if !ok {
			return false
		}
		copy(rec.Fingerprint[:], print)
	}
	rec.State = claim.StatePending
	rec.Attempt, rec.Fence = 1, uint64(fence)
	copy(rec.Token[:], token)
	rec.Deadline = claim.Instant(deadline)
	rec.Retention = time.Duration(retention) * time.Microsecond
	// As for those that decodeOpen reads.
	rec.Expires = rec.Deadline.Add(rec.Retention)
	rec.Key, ok = decodeID(r.rest)
	return ok && rec.Key.Digest() == d
}

// decodeOpen reads a record that keeps its key.
func decodeOpen(rec *claim.Record, r *reply, mark byte, d claim.Digest) bool {
	var numbers [4]int64
	var ok bool
	for i := range numbers {
		if numbers[i], ok = r.number(); !ok {
			return false
		}
	}
	rec.Deadline = claim.Instant(numbers[0])
	rec.Attempt = int(numbers[1])
	rec.Retention = time.Duration(numbers[2]) * time.Microsecond
	rec.Fence = uint64(numbers[3])
	token, ok := r.take(len(rec.Token))
	fingerprint, ok2 := r.take(len(rec.Fingerprint))
	if !ok || !ok2 {
		return false
	}
	copy(rec.Token[:], token)
	copy(rec.Fingerprint[:], fingerprint)

	switch mark {
	case 'P':
		rec.State = claim.StatePending
	case 'R':
		rec.State = claim.StateReleased
	case 'X':
		rec.State = claim.StateDead
		if rec.Reason, ok = r.text(); !ok {
			return false
		}
	}
	if mark != 'X' {
		// To the microsecond, where Redis tells a millisecond that is not quite the
		// one of TIME.
		rec.Expires = rec.Deadline.Add(rec.Retention)
	}
	rec.Key, ok = decodeID(r.rest)
	return ok && rec.Key.Digest() == d
}

// decodeID reads what appendID wrote, to the last byte.
func decodeID(s string) (claim.Key, bool) {
	var parts [3]string
	for i := range parts {
		if i == 2 && len(s) == 17 && s[0] == 0 {
			parts[i], s = uuid.UUID([]byte(s[1:])).String(), ""
			break
		}
		var ok bool
		if parts[i], s, ok = cutPart(s); !ok {
			return claim.Key{}, false
		}
	}
	key, err := claim.NewKey(parts[0], parts[1], claim.MessageID(parts[2]))
	return key, err == nil && s == ""
}

// cutPart reads a length and as many bytes.
func cutPart(s string) (part, rest string, ok bool) {
	var head [binary.MaxVarintLen64]byte
	length, n := binary.Uvarint(head[:copy(head[:], s)])
	if n <= 0 || length > uint64(len(s)-n) {
		return "", "", false
	}
	s = s[n:]
	return s[:length], s[length:], true
}
