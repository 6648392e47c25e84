package redisstore

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/oncebus/once/claim"
)

// PositionOptions make a store remember what is done by its place, as one bit. A key
// has a place where its user gave it one: with Key: dedupe.ByPosition, and a bus
// that tells the place of its messages. Everything else is recorded as without them:
// keys without a place, what is not finished, results, fingerprints.
//
// The bits of neighbours are kept together, 8,000 in a chunk of 1.1 KB, and end
// together: a position is remembered for the Retention of its own completion at
// least, and until the last one of its chunk ends at most. docs/redis.md has more.
//
// A bit cannot tell who finished. Whoever completes a done position again is told
// that this is fine, also a stale owner.
type PositionOptions struct {
	// Prepare makes the store read bits and set none. It is for the deployment
	// before the one that sets them, and for the way back: see docs/redis.md.
	// Defaults to false.
	Prepare bool
}

const (
	// chunkPositions is how many a chunk has bits for. With its first byte, and what
	// Redis adds, a chunk fills the 1,024 bytes that an allocator gives.
	chunkPositions = 8000
	// chunkLetter stands between the prefix and the name of a chunk.
	chunkLetter = 'B'
)

// chunkName names a chunk, behind the prefix and the letter: the digest of its log,
// and its number in it.
type chunkName [16 + 8]byte

// spot is where the bit of a key is. The zero spot is none.
type spot struct {
	placed bool
	bit    uint16
	chunk  chunkName
}

// logs makes the names of chunks. It remembers the last log: most messages of a
// batch are from one.
type logs struct {
	namespace, consumer, log string
	digest                   [16]byte
	preimage                 []byte
}

// spot returns where the bit of k is.
func (l *logs) spot(k claim.Key) (s spot) {
	p := k.Place()
	if p.IsZero() {
		return s
	}
	if p.Log != l.log || k.Consumer() != l.consumer || k.Namespace() != l.namespace {
		l.namespace, l.consumer, l.log = k.Namespace(), k.Consumer(), p.Log
		l.preimage = appendPart(appendPart(l.preimage[:0], l.namespace), l.consumer)
		l.preimage = append(l.preimage, l.log...)
		sum := sha256.Sum256(l.preimage)
		l.digest = [16]byte(sum[:])
	}
	s.placed, s.bit = true, uint16(p.Sequence%chunkPositions)
	copy(s.chunk[:], l.digest[:])
	binary.BigEndian.PutUint64(s.chunk[16:], p.Sequence/chunkPositions)
	return s
}

// chunks are what a call says of places: the names of the chunks, and the text that
// positions.lua reads.
type chunks struct {
	list  []chunkName
	bytes []byte
	text  blob
	names []blob // they share bytes with the text
}

// of takes the chunks of spots, and reports whether there are any.
func (c *chunks) of(n names, spots []spot) bool {
	c.list, c.names = c.list[:0], c.names[:0]
	// One that is there once is in the array once, however many have a bit in it.
	for i := range spots {
		if s := &spots[i]; s.placed && !slices.Contains(c.list, s.chunk) {
			c.list = append(c.list, s.chunk)
		}
	}
	if len(c.list) == 0 {
		return false
	}
	// Enough at once: an array that grew would leave names behind in the old one.
	b := slices.Grow(c.bytes[:0], 3+4*len(spots)+len(c.list)*(len(n.prefix)+1+len(chunkName{})))
	b = binary.BigEndian.AppendUint16(append(b, n.positions), uint16(len(c.list)))
	for i := range spots {
		s := &spots[i]
		b = binary.BigEndian.AppendUint16(b, uint16(1+slices.Index(c.list, s.chunk)))
		b = binary.BigEndian.AppendUint16(b, s.bit)
	}
	c.text.b = b
	for i := range c.list {
		start := len(b)
		b = append(append(append(b, n.prefix...), chunkLetter), c.list[i][:]...)
		c.names = append(c.names, blob{b[start:]})
	}
	c.bytes = b
	return true
}

// setPositions takes the option.
func (s *Store) setPositions(o *Options) error {
	switch {
	case o.Positions == nil:
		return nil
	case !s.together:
		return invalid("Positions is set and Prefix has no hash tag: on a %T, which routes by key, a record and its bit must be in one slot; "+
			"put a tag into the Prefix, as in {once}:", s.client)
	}
	s.names.positions = 'Y'
	if o.Positions.Prepare {
		s.names.positions = 'Z'
	}
	return nil
}
