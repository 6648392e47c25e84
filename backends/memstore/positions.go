package memstore

import (
	"math"

	"github.com/oncebus/once/claim"
)

// chunkPositions is how many positions end together.
const chunkPositions = 8000

// chunkCost is what a chunk costs: its bits, its name with a log of usual length,
// and its share of the index.
const chunkCost = chunkPositions/8 + 512

// chunkName names a chunk.
type chunkName struct {
	namespace, consumer, log string
	number                   uint64
}

func nameOf(k *claim.Key) chunkName {
	p := k.Place()
	return chunkName{k.Namespace(), k.Consumer(), p.Log, p.Sequence / chunkPositions}
}

// chunk has a bit for each position that is done, until its end.
type chunk struct {
	bits [chunkPositions / 64]uint64
	end  claim.Instant
}

// chunks are those of a shard, which has the records of their positions too.
type chunks struct {
	room *room // nil: no positions are remembered
	all  map[chunkName]*chunk
	next claim.Instant // none ends before
}

func (c *chunks) init(r *room) { c.room, c.all, c.next = r, make(map[chunkName]*chunk), math.MaxInt64 }

// holds reports whether the shard remembers the key by its place.
func (c *chunks) holds(k *claim.Key) bool { return c.room != nil && !k.Place().IsZero() }

// find returns the bit of a key, and the chunk that has it, or nil.
func (c *chunks) find(k *claim.Key, now claim.Instant) (ch *chunk, word int, bit uint64) {
	if !c.holds(k) {
		return nil, 0, 0
	}
	at := k.Place().Sequence % chunkPositions
	ch = c.all[nameOf(k)]
	if ch != nil && now >= ch.end {
		ch = nil
	}
	return ch, int(at / 64), 1 << (at % 64)
}

// done returns the record of a position that is done.
func (c *chunks) done(k *claim.Key, now claim.Instant) (rec claim.Record, ok bool) {
	ch, word, bit := c.find(k, now)
	if ch == nil || ch.bits[word]&bit == 0 {
		return rec, false
	}
	return claim.Record{State: claim.StateDone, Expires: ch.end}, true
}

// mark remembers next, which op made of a record, by the place of its key, and
// reports whether that is all that there is to remember, and there is room for it.
func (c *chunks) mark(op *claim.Op, next *claim.Record, now claim.Instant) bool {
	bare := next.Result == nil && !next.Omitted && !next.Recovered && next.Fingerprint.IsZero()
	// A fence is kept where it is ahead of the clock.
	if next.State != claim.StateDone || !bare || next.Fence != op.Grant.Token.Stamp() || !c.holds(&op.Key) {
		return false
	}
	ch, word, bit := c.find(&op.Key, now)
	if ch == nil {
		c.drop(now)
		if !c.room.grow(chunkCost) {
			return false
		}
		ch = &chunk{end: next.Expires}
		c.all[nameOf(&op.Key)] = ch
	}
	ch.bits[word] |= bit
	ch.end = max(ch.end, next.Expires)
	c.next = min(c.next, ch.end)
	return true
}

// unmark forgets a position.
func (c *chunks) unmark(k *claim.Key, now claim.Instant) {
	if ch, word, bit := c.find(k, now); ch != nil {
		ch.bits[word] &^= bit
	}
}

// drop removes the chunks that are over and reports whether there was one.
func (c *chunks) drop(now claim.Instant) (dropped bool) {
	if c.room == nil || now < c.next {
		return false
	}
	c.next = math.MaxInt64
	for name, ch := range c.all {
		if now >= ch.end {
			delete(c.all, name)
			c.room.bytes.Add(-chunkCost)
			dropped = true
		} else {
			c.next = min(c.next, ch.end)
		}
	}
	return dropped
}
