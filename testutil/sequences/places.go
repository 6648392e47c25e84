package sequences

import "github.com/oncebus/once/claim"

// chunk is what a store remembers together of places that are done: as long as of
// any of them was asked for, and of none by whom.
type chunk struct {
	end  claim.Instant
	keys []*held
	real bool // the clock is a real one
}

// place gives h a place. On a real clock each key has a log of its own: whether
// neighbours are still there could not be known.
func (p *player) place(h *held) {
	log := p.namespace
	if p.real {
		log += string(h.name)
	}
	h.key = h.key.At(claim.Place{Log: log, Sequence: uint64(h.name)})
	if p.chunk == nil || p.real {
		p.chunk = &chunk{real: p.real}
	}
	h.chunk = p.chunk
	h.chunk.keys = append(h.chunk.keys, h)
}

// mark takes over next, a completion that was recorded by op, if nothing but its
// place is kept. Such a one has the stamp of its token for a fence, unless the
// fence is ahead of the clock, as to the reference all fences of a real clock are.
func (c *chunk) mark(next *claim.Record, op *claim.Op, now claim.Instant) {
	bare := next.Result == nil && !next.Omitted && !next.Recovered && next.Fingerprint.IsZero()
	if c == nil || !bare || !c.real && next.Fence != op.Grant.Token.Stamp() {
		return
	}
	next.Fence = 0
	if now >= c.end || next.Expires > c.end {
		for _, h := range c.keys {
			if r := &h.record; r.State == claim.StateDone && r.Fence == 0 && now < r.Expires {
				r.Expires = next.Expires
			}
		}
		c.end = next.Expires
	}
	next.Expires = c.end
}
