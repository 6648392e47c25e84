package dedupe

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

const memoryShards = 16

// memory is a bounded set of ids that are done and have no result. It answers
// duplicates without a trip to the store. It never holds a pending id: only
// "done" is a fact that stays true, until its entry ends. Its times are those of
// one monotonic clock, which the callers read.
type memory struct {
	ttl    time.Duration
	factor uint64 // of the hash: odd, and unknown to who chooses ids
	shards [memoryShards]memoryShard
}

// memoryShard keeps its entries in a ring, in the order in which they came, and
// an index with linear probing to find them by. Neither holds a pointer, so that
// what is remembered costs the garbage collector nothing.
type memoryShard struct {
	mu     sync.Mutex
	ring   []memoryEntry // the oldest makes room
	size   int           // how long the ring may get
	oldest int           // the oldest entry's place in a full ring
	// index has a power of two cells, of which at most half are used.
	index []memoryCell

	// Neighbouring shards must not share a cache line.
	_ [64]byte
}

type memoryEntry struct {
	digest      claim.Digest
	fingerprint claim.Fingerprint
	until       time.Duration
	forgotten   bool // and in the index no more
}

// memoryCell is a cell of the index. The hash in it spares most probes a look at
// the ring, and says where the search for the entry begins.
type memoryCell struct {
	hash  uint32
	place uint32 // in the ring, plus one; zero: the cell is free
}

// newMemory returns a memory of about size ids, or nil, which remembers none.
func newMemory(size int, ttl time.Duration) *memory {
	if size == Off {
		return nil
	}
	m := &memory{ttl: ttl, factor: rand.Uint64() | 1}
	for i := range m.shards {
		m.shards[i].size = (size + memoryShards - 1) / memoryShards
	}
	return m
}

// locate returns where to look for digest. Whoever knew the factor could choose
// ids whose digests crowd one place of an index.
func (m *memory) locate(digest claim.Digest) (s *memoryShard, hash uint32) {
	return &m.shards[digest[0]%memoryShards], uint32(binary.LittleEndian.Uint64(digest[8:]) * m.factor >> 32)
}

// add remembers at now a done id for the memory's ttl, or for retention if that
// is shorter.
func (m *memory) add(digest claim.Digest, fp claim.Fingerprint, retention, now time.Duration) {
	if m == nil {
		return
	}
	e := memoryEntry{digest: digest, fingerprint: fp, until: now + min(m.ttl, retention)}
	s, hash := m.locate(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cell, ok := s.find(digest, hash); ok {
		s.ring[s.index[cell].place-1] = e
		return
	}
	place := len(s.ring)
	if place < s.size {
		s.ring = append(s.ring, e)
		if len(s.index) < 2*len(s.ring) {
			s.grow(m)
			return
		}
	} else {
		place = s.oldest
		s.oldest = (place + 1) % s.size
		if old := &s.ring[place]; !old.forgotten {
			_, oldHash := m.locate(old.digest)
			s.drop(old.digest, oldHash)
		}
		s.ring[place] = e
	}
	s.enter(hash, place)
}

// find reports whether the id is remembered at now as done, and with which
// fingerprint.
func (m *memory) find(digest claim.Digest, now time.Duration) (claim.Fingerprint, bool) {
	if m == nil {
		return claim.Fingerprint{}, false
	}
	s, hash := m.locate(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	cell, ok := s.find(digest, hash)
	if !ok {
		return claim.Fingerprint{}, false
	}
	e := &s.ring[s.index[cell].place-1]
	return e.fingerprint, now < e.until
}

// forget drops the id.
func (m *memory) forget(digest claim.Digest) {
	if m == nil {
		return
	}
	s, hash := m.locate(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(digest, hash)
}

// home returns the cell in which the search for hash begins.
func (s *memoryShard) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(s.index)) >> 32)
}

func (s *memoryShard) next(cell int) int { return (cell + 1) & (len(s.index) - 1) }

// find returns the cell of an id.
func (s *memoryShard) find(digest claim.Digest, hash uint32) (cell int, ok bool) {
	if len(s.index) == 0 {
		return 0, false
	}
	for cell = s.home(hash); ; cell = s.next(cell) {
		switch c := s.index[cell]; {
		case c.place == 0:
			return 0, false
		case c.hash == hash && s.ring[c.place-1].digest == digest:
			return cell, true
		}
	}
}

// enter puts an entry of the ring that is not in the index into it.
func (s *memoryShard) enter(hash uint32, place int) {
	cell := s.home(hash)
	for s.index[cell].place != 0 {
		cell = s.next(cell)
	}
	s.index[cell] = memoryCell{hash, uint32(place) + 1}
}

// drop takes an id out of the index, if it is there, and moves those cells up
// that were put behind it for want of room.
func (s *memoryShard) drop(digest claim.Digest, hash uint32) {
	free, ok := s.find(digest, hash)
	if !ok {
		return
	}
	s.ring[s.index[free].place-1].forgotten = true
	mask := len(s.index) - 1
	for cell := s.next(free); s.index[cell].place != 0; cell = s.next(cell) {
		// A cell may move up as far as its home.
		if home := s.home(s.index[cell].hash); (cell-home)&mask >= (cell-free)&mask {
			s.index[free] = s.index[cell]
			free = cell
		}
	}
	s.index[free] = memoryCell{}
}

// grow makes a larger index of what is in the ring.
func (s *memoryShard) grow(m *memory) {
	s.index = make([]memoryCell, max(16, 2*len(s.index)))
	for place := range s.ring {
		if e := &s.ring[place]; !e.forgotten {
			_, hash := m.locate(e.digest)
			s.enter(hash, place)
		}
	}
}
