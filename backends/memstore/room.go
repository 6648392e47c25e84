package memstore

import (
	"sync/atomic"

	"github.com/oncebus/once/claim"
)

// What a record costs, in bytes: the slot, its entry in the index of a map that
// is between half and fully loaded, its place in the expiry heap, and the slack
// of a heap that grows. TestEstimateIsHonest compares it with the real heap.
const (
	slotCost = 152
	restCost = 160
)

// cost estimates the memory of rec.
func cost(rec *claim.Record) int64 {
	if !needsRest(rec) {
		return slotCost
	}
	k := rec.Key
	return slotCost + restCost + int64(len(k.Namespace())+len(k.Consumer())+len(k.ID())+len(rec.Result)+len(rec.Reason))
}

// room counts the records and bytes of all shards. It is exact at every moment
// but those between a reservation and its return.
type room struct {
	maxRecords, maxBytes int64
	records, bytes       atomic.Int64
}

// take reserves room for one record, or reports that there is none.
func (r *room) take(bytes int64) bool {
	if r.records.Add(1) > r.maxRecords {
		r.records.Add(-1)
		return false
	}
	if !r.grow(bytes) {
		r.records.Add(-1)
		return false
	}
	return true
}

// grow reserves bytes for a record that exists, or reports that there are none.
func (r *room) grow(bytes int64) bool {
	if r.bytes.Add(bytes) > r.maxBytes {
		r.bytes.Add(-bytes)
		return false
	}
	return true
}

// give returns the room of one record.
func (r *room) give(bytes int64) {
	r.records.Add(-1)
	r.bytes.Add(-bytes)
}
