package dedupe

import (
	"hash/maphash"
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
	namespace string
	ttl       time.Duration
	// seed is of the hash, and unknown to who chooses ids: whoever knew it could
	// choose such as crowd one place of an index.
	seed   maphash.Seed
	shards [memoryShards]memoryShard
}

// maxShortID is how many bytes an id may have to be remembered as it is. A UUID in
// text has 36.
const maxShortID = 47

// memoryID is what the memory knows an id by: the id itself if it is short and in
// the Deduper's own namespace, so that a duplicate is recognised without a digest
// being made, and otherwise the key's digest. Neither can be taken for another.
type memoryID struct {
	length uint8 // of the id, or digestLength
	bytes  [maxShortID]byte
}

const digestLength = 0xff

// shortID returns what an id is remembered by that has up to maxShortID bytes.
func shortID(id string) (m memoryID) {
	m.length = uint8(copy(m.bytes[:], id))
	return m
}

func digestID(d claim.Digest) (m memoryID) {
	m.length = digestLength
	copy(m.bytes[:], d[:])
	return m
}

// idOf returns what key is remembered by.
func (m *memory) idOf(key *claim.Key) memoryID {
	if id := key.ID(); len(id) <= maxShortID && key.Namespace() == m.namespace {
		return shortID(string(id))
	}
	return digestID(key.Digest())
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
	id          memoryID
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

// newMemory returns a memory of about size ids, most of them in namespace, or nil,
// which remembers none.
func newMemory(size int, ttl time.Duration, namespace string) *memory {
	if size == Off {
		return nil
	}
	m := &memory{namespace: namespace, ttl: ttl, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].size = (size + memoryShards - 1) / memoryShards
	}
	return m
}

// locate returns where to look for id.
func (m *memory) locate(id *memoryID) (s *memoryShard, hash uint32) {
	bytes := id.bytes[:]
	if int(id.length) < len(bytes) {
		bytes = bytes[:id.length]
	}
	h := maphash.Bytes(m.seed, bytes)
	return &m.shards[h%memoryShards], uint32(h >> 32)
}

// add remembers at now a done id for the memory's ttl, or for retention if that
// is shorter.
func (m *memory) add(key *claim.Key, fp claim.Fingerprint, retention, now time.Duration) {
	if m != nil {
		m.put(memoryEntry{id: m.idOf(key), fingerprint: fp, until: now + min(m.ttl, retention)})
	}
}

func (m *memory) put(e memoryEntry) {
	s, hash := m.locate(&e.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cell, ok := s.find(&e.id, hash); ok {
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
			_, oldHash := m.locate(&old.id)
			s.drop(&old.id, oldHash)
		}
		s.ring[place] = e
	}
	s.enter(hash, place)
}

// find reports whether the key is remembered at now as done, and with which
// fingerprint.
func (m *memory) find(key *claim.Key, now time.Duration) (claim.Fingerprint, bool) {
	if m == nil {
		return claim.Fingerprint{}, false
	}
	id := m.idOf(key)
	return m.get(&id, now)
}

// findID is find for an id in the memory's namespace of which no key was made. It
// knows none that is long.
func (m *memory) findID(id string, now time.Duration) (claim.Fingerprint, bool) {
	if m == nil || len(id) > maxShortID {
		return claim.Fingerprint{}, false
	}
	short := shortID(id)
	return m.get(&short, now)
}

func (m *memory) get(id *memoryID, now time.Duration) (claim.Fingerprint, bool) {
	s, hash := m.locate(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	cell, ok := s.find(id, hash)
	if !ok {
		return claim.Fingerprint{}, false
	}
	e := &s.ring[s.index[cell].place-1]
	return e.fingerprint, now < e.until
}

// forget drops the key.
func (m *memory) forget(key *claim.Key) {
	if m == nil {
		return
	}
	id := m.idOf(key)
	s, hash := m.locate(&id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(&id, hash)
}

// home returns the cell in which the search for hash begins.
func (s *memoryShard) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(s.index)) >> 32)
}

func (s *memoryShard) next(cell int) int { return (cell + 1) & (len(s.index) - 1) }

// find returns the cell of an id.
func (s *memoryShard) find(id *memoryID, hash uint32) (cell int, ok bool) {
	if len(s.index) == 0 {
		return 0, false
	}
	for cell = s.home(hash); ; cell = s.next(cell) {
		switch c := s.index[cell]; {
		case c.place == 0:
			return 0, false
		case c.hash == hash && s.ring[c.place-1].id == *id:
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
func (s *memoryShard) drop(id *memoryID, hash uint32) {
	free, ok := s.find(id, hash)
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
			_, hash := m.locate(&e.id)
			s.enter(hash, place)
		}
	}
}
