package memstore

import (
	"math"
	"time"

	"github.com/oncebus/once/claim"
)

// maxSlots is how many records a store may have: a slot's number fits in an
// int of 32 bits, and so does one more, where zero means none.
const maxSlots = math.MaxInt32 - 1

// table keeps records in slots that never move, so that a slot's number is a
// cursor for listing. Free slots are reused; the memory of a table stays at the
// most that it ever held.
type table struct {
	index map[claim.Digest]uint32
	slots []slot
	free  []uint32
	mores []more
	freeM []uint32
	ends  endHeap
}

// slot is what every record has. It holds no pointers and fills one cache line.
type slot struct {
	digest      claim.Digest
	fingerprint claim.Fingerprint
	fence       uint64
	expires     claim.Instant
	end         uint32 // position in ends
	more        uint32 // number of the rest in mores plus one; zero: there is none
	state       claim.State
	omitted     bool
	recovered   bool
}

// more is the rest of a record: of all that are not done, and of a done one
// with a result.
type more struct {
	key       claim.Key
	token     claim.Token
	attempt   int
	deadline  claim.Instant
	retention time.Duration
	result    []byte
	reason    string
}

func needsMore(rec *claim.Record) bool {
	return rec.State != claim.StateDone || rec.Result != nil
}

func (t *table) init() { t.index = make(map[claim.Digest]uint32) }

func (t *table) find(d claim.Digest) (at uint32, ok bool) {
	at, ok = t.index[d]
	return at, ok
}

func (t *table) expires(at uint32) claim.Instant { return t.slots[at].expires }

// first returns the record that ends first.
func (t *table) first() (at uint32, expires claim.Instant, ok bool) {
	if len(t.ends) == 0 {
		return 0, 0, false
	}
	return t.ends[0].slot, t.ends[0].expires, true
}

// load returns the record in a slot. The result is the table's own.
func (t *table) load(at uint32) claim.Record {
	s := &t.slots[at]
	rec := claim.Record{
		State:       s.state,
		Fence:       s.fence,
		Expires:     s.expires,
		Fingerprint: s.fingerprint,
		Omitted:     s.omitted,
		Recovered:   s.recovered,
	}
	if s.more != 0 {
		m := &t.mores[s.more-1]
		rec.Key, rec.Token, rec.Attempt = m.key, m.token, m.attempt
		rec.Deadline, rec.Retention = m.deadline, m.retention
		rec.Result, rec.Reason = m.result, m.reason
	}
	return rec
}

func (t *table) insert(d claim.Digest, rec claim.Record) {
	var at uint32
	if n := len(t.free); n > 0 {
		at, t.free = t.free[n-1], t.free[:n-1]
	} else {
		at = uint32(len(t.slots))
		t.slots = append(t.slots, slot{})
	}
	t.slots[at] = slot{digest: d}
	t.store(at, &rec)
	t.index[d] = at
	t.ends.push(t.slots, rec.Expires, at)
}

func (t *table) replace(at uint32, rec claim.Record) {
	t.store(at, &rec)
	t.ends.move(t.slots, t.slots[at].end, rec.Expires)
}

func (t *table) remove(at uint32) {
	s := &t.slots[at]
	delete(t.index, s.digest)
	t.ends.remove(t.slots, s.end)
	t.freeMore(s)
	*s = slot{}
	t.free = append(t.free, at)
}

// store writes rec into its slot; the heap of ends is the caller's to mend.
func (t *table) store(at uint32, rec *claim.Record) {
	s := &t.slots[at]
	s.state = rec.State
	s.fence = rec.Fence
	s.expires = rec.Expires
	s.fingerprint = rec.Fingerprint
	s.omitted = rec.Omitted
	s.recovered = rec.Recovered
	if !needsMore(rec) {
		t.freeMore(s)
		return
	}
	if s.more == 0 {
		s.more = t.newMore()
	}
	t.mores[s.more-1] = more{
		key: rec.Key, token: rec.Token, attempt: rec.Attempt,
		deadline: rec.Deadline, retention: rec.Retention,
		result: rec.Result, reason: rec.Reason,
	}
}

func (t *table) newMore() uint32 {
	if n := len(t.freeM); n > 0 {
		number := t.freeM[n-1]
		t.freeM = t.freeM[:n-1]
		return number
	}
	t.mores = append(t.mores, more{})
	return uint32(len(t.mores))
}

func (t *table) freeMore(s *slot) {
	if s.more == 0 {
		return
	}
	// Cleared, so that nothing holds the id and the result any longer.
	t.mores[s.more-1] = more{}
	t.freeM = append(t.freeM, s.more)
	s.more = 0
}
