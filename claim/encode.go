package claim

import (
	"encoding/binary"
	"time"
)

// The first byte of an encoded record tells its kind and the layout of the
// rest. Another layout takes another byte.
const (
	markForgotten = 'F'
	markPending   = 'P'
	markReleased  = 'R'
	markDone      = 'D'
	markDead      = 'X'
)

// Flags of an encoded record.
const (
	flagFingerprint = 1 << iota
	flagOmitted
	flagRecovered
	flagResult
	allFlags = flagFingerprint | flagOmitted | flagRecovered | flagResult
)

// AppendRecord appends rec to b in a compact binary form, for stores that keep
// records as bytes. Its times are kept as distances from base: a store whose
// server stamps what it writes passes the moment for which rec was made, and
// reads it with the stamp as base; others pass zero. An absent record keeps its
// fence and its end.
//
// A done record without a result takes about 15 bytes, and the others some 60
// and the bytes of their names, id and reason.
func AppendRecord(b []byte, rec *Record, base Instant) []byte {
	marks := [...]byte{StateAbsent: markForgotten, StatePending: markPending, StateReleased: markReleased,
		StateDone: markDone, StateDead: markDead}
	b = append(b, marks[rec.State])
	b = binary.AppendUvarint(b, rec.Fence)
	b = binary.AppendVarint(b, int64(rec.Expires-base))
	if rec.State == StateAbsent {
		return b
	}
	var flags byte
	if !rec.Fingerprint.IsZero() {
		flags |= flagFingerprint
	}
	if rec.Omitted {
		flags |= flagOmitted
	}
	if rec.Recovered {
		flags |= flagRecovered
	}
	if rec.Result != nil {
		flags |= flagResult
	}
	b = append(b, flags)
	if flags&flagFingerprint != 0 {
		b = append(b, rec.Fingerprint[:]...)
	}
	if rec.State == StateDone {
		return append(b, rec.Result...)
	}
	b = binary.AppendVarint(b, int64(rec.Deadline-base))
	b = binary.AppendUvarint(b, uint64(rec.Retention/time.Microsecond))
	b = binary.AppendUvarint(b, uint64(rec.Attempt))
	b = append(b, rec.Token[:]...)
	if rec.State == StateDead {
		b = appendPart(b, rec.Reason)
	}
	b = appendPart(b, rec.Key.namespace)
	b = appendPart(b, rec.Key.consumer)
	return appendPart(b, string(rec.Key.id))
}

func appendPart(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// ParseRecord reads what AppendRecord wrote for the key with digest d. Anything
// else is ErrCorrupt. The result of a done record shares b's memory.
func ParseRecord(b []byte, d Digest, base Instant) (Record, error) {
	r := recordReader{rest: b}
	rec := Record{State: r.state()}
	rec.Fence = r.uvarint(MaxFence)
	rec.Expires = base + Instant(r.varint())
	if rec.State == StateAbsent {
		return r.end(rec)
	}
	flags := r.byte()
	if flags&^allFlags != 0 {
		r.bad = true
	}
	rec.Omitted, rec.Recovered = flags&flagOmitted != 0, flags&flagRecovered != 0
	if flags&flagFingerprint != 0 {
		copy(rec.Fingerprint[:], r.take(len(rec.Fingerprint)))
		r.bad = r.bad || rec.Fingerprint.IsZero()
	}
	if rec.State == StateDone {
		if flags&flagResult != 0 {
			rec.Result = r.take(len(r.rest))
		}
		return r.end(rec)
	}
	if flags&^flagFingerprint != 0 {
		r.bad = true
	}
	rec.Deadline = base + Instant(r.varint())
	rec.Retention = time.Duration(r.uvarint(uint64(MaxRetention/time.Microsecond))) * time.Microsecond
	rec.Attempt = int(r.uvarint(1 << 62))
	copy(rec.Token[:], r.take(len(rec.Token)))
	if rec.State == StateDead {
		rec.Reason = r.part()
	}
	namespace, consumer, id := r.part(), r.part(), r.part()
	if r.bad {
		return r.end(rec)
	}
	key, err := NewKey(namespace, consumer, MessageID(id))
	if err != nil || key.digest != d {
		r.bad = true
	}
	rec.Key = key
	return r.end(rec)
}

// recordReader reads the parts of a record and notes when one is not there.
type recordReader struct {
	rest []byte
	bad  bool
}

// end returns rec if all of it, and nothing else, was there.
func (r *recordReader) end(rec Record) (Record, error) {
	if r.bad || len(r.rest) > 0 {
		return Record{}, Corrupt("the value under the key is no record of this version")
	}
	return rec, nil
}

func (r *recordReader) state() State {
	switch r.byte() {
	case markForgotten:
		return StateAbsent
	case markPending:
		return StatePending
	case markReleased:
		return StateReleased
	case markDone:
		return StateDone
	case markDead:
		return StateDead
	}
	r.bad = true
	return StateAbsent
}

func (r *recordReader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *recordReader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *recordReader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *recordReader) part() string {
	n := r.uvarint(uint64(len(r.rest)))
	return string(r.take(int(n)))
}
