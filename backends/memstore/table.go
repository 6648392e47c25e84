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
	slots slab[slot]
	rests slab[rest]
	ends  endHeap
}

// slot is what every record has. It holds no pointers and fills one cache line.
type slot struct {
	digest      claim.Digest
	fingerprint claim.Fingerprint
	fence       uint64
	expires     claim.Instant
	end         uint32 // position in ends
	rest        uint32 // number in rests plus one; zero: there is none
	state       claim.State
	omitted     bool
	recovered   bool
}

// rest is what a record has besides its slot, unless it is done without a
// result.
type rest struct {
	key       claim.Key
	token     claim.Token
	attempt   int
	deadline  claim.Instant
	retention time.Duration
	result    []byte
	reason    string
}

func needsRest(rec *claim.Record) bool {
	return rec.State != claim.StateDone || rec.Result != nil
}

func (t *table) init() { t.index = make(map[claim.Digest]uint32) }

func (t *table) find(d claim.Digest) (at uint32, ok bool) {
	at, ok = t.index[d]
	return at, ok
}

func (t *table) expires(at uint32) claim.Instant { return t.slots.at(at).expires }

// first returns the record that ends first.
func (t *table) first() (at uint32, expires claim.Instant, ok bool) {
	if len(t.ends) == 0 {
		return 0, 0, false
	}
	return t.ends[0].slot, t.ends[0].expires, true
}

// load returns the record in a slot. The result is the table's own.
func (t *table) load(at uint32) claim.Record {
	s := t.slots.at(at)
	rec := claim.Record{
		State:       s.state,
		Fence:       s.fence,
		Expires:     s.expires,
		Fingerprint: s.fingerprint,
		Omitted:     s.omitted,
		Recovered:   s.recovered,
	}
	if s.rest != 0 {
		r := t.rests.at(s.rest - 1)
		rec.Key, rec.Token, rec.Attempt = r.key, r.token, r.attempt
		rec.Deadline, rec.Retention = r.deadline, r.retention
		rec.Result, rec.Reason = r.result, r.reason
	}
	return rec
}

// weigh returns the fence of the record in a slot, and what it costs.
func (t *table) weigh(at uint32) (fence uint64, bytes int64) {
	s := t.slots.at(at)
	if s.rest == 0 {
		return s.fence, slotCost
	}
	rec := t.load(at)
	return s.fence, cost(&rec)
}

func (t *table) insert(d claim.Digest, rec claim.Record) {
	at := t.slots.take()
	t.slots.at(at).digest = d
	t.store(at, &rec)
	t.index[d] = at
	t.ends.push(&t.slots, rec.Expires, at)
}

func (t *table) replace(at uint32, rec claim.Record) {
	t.store(at, &rec)
	t.ends.move(&t.slots, t.slots.at(at).end, rec.Expires)
}

func (t *table) remove(at uint32) {
	s := t.slots.at(at)
	delete(t.index, s.digest)
	t.ends.remove(&t.slots, s.end)
	t.dropRest(s)
	t.slots.give(at)
}

// store writes rec into its slot; the heap of ends is the caller's to mend.
func (t *table) store(at uint32, rec *claim.Record) {
	s := t.slots.at(at)
	s.state = rec.State
	s.fence = rec.Fence
	s.expires = rec.Expires
	s.fingerprint = rec.Fingerprint
	s.omitted = rec.Omitted
	s.recovered = rec.Recovered
	if !needsRest(rec) {
		t.dropRest(s)
		return
	}
	if s.rest == 0 {
		s.rest = t.rests.take() + 1
	}
	*t.rests.at(s.rest - 1) = rest{
		key: rec.Key, token: rec.Token, attempt: rec.Attempt,
		deadline: rec.Deadline, retention: rec.Retention,
		result: rec.Result, reason: rec.Reason,
	}
}

func (t *table) dropRest(s *slot) {
	if s.rest != 0 {
		t.rests.give(s.rest - 1)
		s.rest = 0
	}
}
