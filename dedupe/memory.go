package dedupe

import (
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

const memoryShards = 16

// memory is a bounded set of ids that are done and have no result. It answers
// duplicates without a trip to the store. It never holds a pending id: only
// "done" is a fact that stays true, until its entry ends.
type memory struct {
	ttl    time.Duration
	start  time.Time
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	mu      sync.Mutex
	entries map[claim.Digest]memoryEntry
	ring    []claim.Digest // in order of arrival; the oldest makes room
	size    int            // how long the ring may get
	oldest  int            // index into a full ring
}

type memoryEntry struct {
	fingerprint claim.Fingerprint
	until       time.Duration // since memory.start: monotonic, and half a time.Time
	slot        int           // this entry's place in the ring
}

// newMemory returns a memory of about size ids, or nil, which remembers none.
func newMemory(size int, ttl time.Duration) *memory {
	if size == Off {
		return nil
	}
	m := &memory{ttl: ttl, start: time.Now()}
	for i := range m.shards {
		m.shards[i] = memoryShard{entries: map[claim.Digest]memoryEntry{}, size: (size + memoryShards - 1) / memoryShards}
	}
	return m
}

func (m *memory) shard(digest claim.Digest) *memoryShard {
	return &m.shards[digest[0]%memoryShards]
}

// add remembers a done id for the memory's ttl, or for retention if that is
// shorter.
func (m *memory) add(digest claim.Digest, fp claim.Fingerprint, retention time.Duration) {
	if m == nil {
		return
	}
	until := time.Since(m.start) + min(m.ttl, retention)
	s := m.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[digest]; ok {
		s.entries[digest] = memoryEntry{fp, until, e.slot}
		return
	}
	slot := len(s.ring)
	if slot < s.size {
		s.ring = append(s.ring, digest)
	} else {
		slot = s.oldest
		s.oldest = (s.oldest + 1) % s.size
		if e, ok := s.entries[s.ring[slot]]; ok && e.slot == slot {
			delete(s.entries, s.ring[slot])
		}
		s.ring[slot] = digest
	}
	s.entries[digest] = memoryEntry{fp, until, slot}
}

// find reports whether the id is remembered as done, and with which fingerprint.
func (m *memory) find(digest claim.Digest) (claim.Fingerprint, bool) {
	if m == nil {
		return claim.Fingerprint{}, false
	}
	s := m.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[digest]
	if !ok || time.Since(m.start) >= e.until {
		return claim.Fingerprint{}, false
	}
	return e.fingerprint, true
}

// forget drops the id.
func (m *memory) forget(digest claim.Digest) {
	if m == nil {
		return
	}
	s := m.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, digest)
}
