package memstore

import (
	"fmt"
	"time"
)

// The defaults of Options.
const (
	DefaultMaxRecords = 1 << 20
	DefaultMaxBytes   = 256 << 20
	DefaultShards     = 64
)

// maxShards keeps a shard's number within two bytes of a digest.
const maxShards = 1 << 16

// Options configures a Store. The zero Options, and nil, mean the defaults.
type Options struct {
	// MaxRecords bounds the number of records, of every state. Defaults to
	// DefaultMaxRecords, 1,048,576.
	MaxRecords int
	// MaxBytes bounds the memory, as the store estimates it: records with their
	// share of the indexes, ids, results and reasons. A done record without a
	// result counts 152 bytes, a pending one 312 and the bytes of its id,
	// consumer and namespace. Defaults to DefaultMaxBytes, 256 MiB.
	//
	// A completion never fails for want of room: its result is left out then,
	// and the record says Omitted. Reasons of dead records are kept beyond the
	// bound, at most claim.MaxReasonBytes each.
	MaxBytes int64
	// Shards is the number of independent locks, 1 to 65,536. Defaults to
	// DefaultShards, 64.
	Shards int
	// Positions makes the store remember what is done by its place, as one bit. A
	// key has a place where its user gave it one: with Key: dedupe.ByPosition, and a
	// bus that tells the place of its messages. Everything else is recorded as
	// without it: keys without a place, what is not finished, results, fingerprints.
	//
	// The bits of 8,000 neighbours are kept together, count 1,512 bytes and no
	// record, and end together: a position is remembered for the retention of its
	// own completion at least, and until the last one of its chunk ends at most.
	// Neighbours share a lock. A bit cannot tell who finished: whoever completes a
	// done position again is told that this is fine. Defaults to false.
	Positions bool
	// Now is the clock. It is called with a lock held, so it must be quick and
	// must not call the store. Defaults to time.Now; the default is read by its
	// monotonic part, so that a step of the wall clock neither ends a lease nor
	// keeps one alive.
	Now func() time.Time
}

// withDefaults returns a checked copy of o.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.MaxRecords == 0 {
		c.MaxRecords = DefaultMaxRecords
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Shards == 0 {
		c.Shards = DefaultShards
	}
	switch {
	case c.MaxRecords < 0:
		return c, fmt.Errorf("memstore: Options.MaxRecords is %d, want 1 or more", c.MaxRecords)
	case c.MaxRecords > maxSlots:
		return c, fmt.Errorf("memstore: Options.MaxRecords is %d, want at most %d", c.MaxRecords, maxSlots)
	case c.MaxBytes < 0:
		return c, fmt.Errorf("memstore: Options.MaxBytes is %d, want 1 or more", c.MaxBytes)
	case c.Shards < 0 || c.Shards > maxShards:
		return c, fmt.Errorf("memstore: Options.Shards is %d, want 1 to %d", c.Shards, maxShards)
	}
	return c, nil
}
