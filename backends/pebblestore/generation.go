package pebblestore

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncebus/once/claim"
)

// Keys of the tree begin with what they are.
const (
	prefixMeta   = 'm'
	prefixRecord = 'r'
)

var (
	keySpan  = []byte{prefixMeta, 's'}
	keyClock = []byte{prefixMeta, 'c'}
)

// generation is the number of a span of time, counted from 1970. A generation
// holds records that end in it or before, and is over with it.
type generation uint32

// generationOf returns the generation in which t is.
func (s *Store) generationOf(t claim.Instant) generation {
	return generation(max(0, t) / s.span)
}

// end returns the first moment after g.
func (s *Store) end(g generation) claim.Instant { return (claim.Instant(g) + 1) * s.span }

// appendKey appends the key of a record in g.
func appendKey(b []byte, g generation, d claim.Digest) []byte {
	return append(appendBound(b, g), d[:]...)
}

// appendBound appends what all keys of g begin with.
func appendBound(b []byte, g generation) []byte {
	b = append(b, prefixRecord)
	return binary.BigEndian.AppendUint32(b, uint32(g))
}

const keyBytes = 1 + 4 + len(claim.Digest{})

// splitKey returns the parts of a record's key.
func splitKey(key []byte) (g generation, d claim.Digest, ok bool) {
	if len(key) != keyBytes || key[0] != prefixRecord {
		return 0, d, false
	}
	return generation(binary.BigEndian.Uint32(key[1:])), claim.Digest(key[5:]), true
}

// generations are those that may hold records, the latest first. It is safe for
// concurrent use.
type generations struct {
	list atomic.Pointer[[]generation]
	mu   sync.Mutex // serializes changes
}

// all returns them; the caller must not change the slice.
func (gs *generations) all() []generation { return *gs.list.Load() }

// add makes sure that g is one of them.
func (gs *generations) add(g generation) {
	if slices.Contains(gs.all(), g) {
		return
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	list := gs.all()
	if slices.Contains(list, g) {
		return
	}
	list = append(slices.Clone(list), g)
	slices.SortFunc(list, func(a, b generation) int { return int(b) - int(a) })
	gs.list.Store(&list)
}

// remove takes g out.
func (gs *generations) remove(g generation) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(gs.all()), func(have generation) bool { return have == g })
	gs.list.Store(&list)
}

// find reads from db which generations there are.
func (gs *generations) find(db *pebble.DB) error {
	list := []generation{}
	gs.list.Store(&list)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixRecord}, UpperBound: []byte{prefixRecord + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; {
		g, _, good := splitKey(it.Key())
		if !good {
			ok = it.Next()
			continue
		}
		gs.add(g)
		ok = it.SeekGE(appendBound(nil, g+1))
	}
	return it.Close()
}

// sweep drops the generations that are over. It takes the store for itself, so
// that nobody writes to one of them with an older time in hand.
func (s *Store) sweep(now claim.Instant) {
	list := s.generations.all()
	if len(list) == 0 || now < s.end(list[len(list)-1]) || !s.sweeping.CompareAndSwap(false, true) {
		return
	}
	defer s.sweeping.Store(false)
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return
	}
	for _, g := range slices.Backward(s.generations.all()) {
		if now < s.end(g) {
			return
		}
		// What a crash brings back is dropped again.
		if err := s.db.DeleteRange(appendBound(nil, g), appendBound(nil, g+1), pebble.NoSync); err != nil {
			s.log.Warn("pebblestore: records that are over could not be dropped", "error", err)
			return
		}
		s.generations.remove(g)
	}
}
