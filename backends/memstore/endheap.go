package memstore

import "github.com/oncebus/once/claim"

// endHeap is a binary heap of the records by expiry, the earliest first. Each
// slot knows its position, so that a record whose expiry changes is moved in
// O(log n); with one retention for all, the usual case, a new record goes to
// the end and stays there. container/heap would cost an allocation and two
// interface calls a step.
type endHeap []end

// end repeats the slot's expiry, so that sifting reads the heap alone.
type end struct {
	expires claim.Instant
	slot    uint32
}

func (h *endHeap) push(slots *slab[slot], expires claim.Instant, at uint32) {
	*h = append(*h, end{expires, at})
	h.up(slots, len(*h)-1)
}

// move gives the entry at pos another expiry.
func (h *endHeap) move(slots *slab[slot], pos uint32, expires claim.Instant) {
	(*h)[pos].expires = expires
	h.fix(slots, int(pos))
}

func (h *endHeap) remove(slots *slab[slot], pos uint32) {
	last := len(*h) - 1
	moved := (*h)[last]
	*h = (*h)[:last]
	if int(pos) < last {
		(*h)[pos] = moved
		h.fix(slots, int(pos))
	}
}

func (h endHeap) fix(slots *slab[slot], i int) {
	if !h.down(slots, i) {
		h.up(slots, i)
	}
}

func (h endHeap) up(slots *slab[slot], i int) {
	e := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].expires <= e.expires {
			break
		}
		h.put(slots, i, h[parent])
		i = parent
	}
	h.put(slots, i, e)
}

// down reports whether the entry moved.
func (h endHeap) down(slots *slab[slot], start int) bool {
	i, e := start, h[start]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if right := child + 1; right < len(h) && h[right].expires < h[child].expires {
			child = right
		}
		if e.expires <= h[child].expires {
			break
		}
		h.put(slots, i, h[child])
		i = child
	}
	h.put(slots, i, e)
	return i != start
}

func (h endHeap) put(slots *slab[slot], i int, e end) {
	h[i] = e
	slots.at(e.slot).end = uint32(i)
}
