package dedupe

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

func digest(n int) (d claim.Digest) {
	d[0] = byte(n)
	binary.BigEndian.PutUint64(d[8:], uint64(n))
	return d
}

func (m *memory) has(n int) bool { _, ok := m.find(digest(n), 0); return ok }

func TestMemoryForgetsAfterTheShorterOfTTLAndRetention(t *testing.T) {
	m := newMemory(100, time.Minute)
	has := func(n int, now time.Duration) bool { _, ok := m.find(digest(n), now); return ok }
	m.add(digest(1), claim.Fingerprint{}, time.Hour, 0)
	m.add(digest(2), claim.Fingerprint{}, time.Second, 0)
	if !has(1, time.Second) || has(2, time.Second) {
		t.Error("after the retention of 2: want 1 and not 2")
	}
	m.add(digest(1), claim.Fingerprint{}, time.Hour, time.Second)
	if !has(1, time.Minute) {
		t.Error("an id that was added again is forgotten after its first minute")
	}
	if has(1, time.Minute+time.Second) {
		t.Error("after a minute the id is still remembered")
	}
}

func TestMemoryIsBoundedAndForgetsTheOldest(t *testing.T) {
	const size = 10 * memoryShards
	m := newMemory(size, time.Minute)
	for n := range 100 * size {
		m.add(digest(n), claim.Fingerprint{}, time.Hour, 0)
		m.forget(digest(n - 3))
	}
	for i := range m.shards {
		if s := &m.shards[i]; len(s.ring) > s.size || len(s.index) > 4*s.size {
			t.Fatalf("a shard of %d has %d entries and %d cells", s.size, len(s.ring), len(s.index))
		}
	}
	if !m.has(100*size-1) || m.has(0) || m.has(100*size-4) {
		t.Error("want the newest, not the oldest, and not what was forgotten")
	}
}

func TestMemoryKeepsAnIDThatWasForgottenAndAddedAgainUntilItsTurn(t *testing.T) {
	m := newMemory(2*memoryShards, time.Minute)
	first, second, third := digest(0), digest(256), digest(512) // one shard
	add := func(d claim.Digest) { m.add(d, claim.Fingerprint{}, time.Hour, 0) }
	has := func(d claim.Digest) bool { _, ok := m.find(d, 0); return ok }
	add(first)
	m.forget(first)
	add(first)  // in the second place now
	add(second) // takes the first place
	if !has(first) {
		t.Error("making room for another dropped the newer entry")
	}
	add(third)
	if has(first) {
		t.Error("the oldest entry was not dropped")
	}
}

// The same random calls on a memory and on a map of what it must know.
func TestMemoryAgreesWithAMap(t *testing.T) {
	const size = 8
	m := newMemory(size*memoryShards, time.Minute)
	m.factor = 1 // small digests share homes: long runs of cells
	known := map[claim.Digest]claim.Fingerprint{}
	var arrived []claim.Digest // the last size places; a forgotten id keeps its own
	id := func() (d claim.Digest) {
		binary.LittleEndian.PutUint64(d[8:], rand.Uint64N(20)<<60|rand.Uint64N(2))
		return d
	}
	for range 100_000 {
		d := id()
		_, had := known[d]
		switch rand.N(3) {
		case 0:
			fp := claim.Fingerprint{byte(rand.N(2))}
			m.add(d, fp, time.Hour, 0)
			if known[d] = fp; had {
				break
			}
			if arrived = append(arrived, d); len(arrived) > size {
				if oldest := arrived[0]; oldest != (claim.Digest{15: 0xff}) {
					delete(known, oldest)
				}
				arrived = arrived[1:]
			}
		case 1:
			m.forget(d)
			for i := range arrived {
				if had && arrived[i] == d {
					arrived[i] = claim.Digest{15: 0xff} // nobody's
				}
			}
			delete(known, d)
		}
		d = id()
		fp, ok := m.find(d, 0)
		if want, had := known[d]; ok != had || fp != want {
			t.Fatalf("found %v, %v; want %v, %v", fp, ok, want, had)
		}
	}
}

func TestMemorySwitchedOffRemembersNothing(t *testing.T) {
	m := newMemory(Off, time.Minute)
	m.add(digest(1), claim.Fingerprint{}, time.Hour, 0)
	m.forget(digest(1))
	if m.has(1) {
		t.Error("a memory that is off found an id")
	}
}

func TestMemoryDoesNotAllocateOnceItIsFull(t *testing.T) {
	const size = 64 * memoryShards
	m := newMemory(size, time.Minute)
	n := 0
	add := func() {
		m.add(digest(n), claim.Fingerprint{}, time.Hour, 0)
		n++
	}
	for range 4 * size {
		add()
	}
	if allocs := testing.AllocsPerRun(size, func() { add(); m.has(n - 1); m.has(-1) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// One operation is one id that comes and pushes out the oldest.
func BenchmarkMemoryAdd(b *testing.B) {
	m := newMemory(1<<16, time.Minute)
	b.ReportAllocs()
	for n := range b.N {
		m.add(spread(n), claim.Fingerprint{}, time.Hour, 0)
	}
}

func BenchmarkMemoryFind(b *testing.B) {
	m := newMemory(1<<16, time.Minute)
	for n := range 1 << 16 {
		m.add(spread(n), claim.Fingerprint{}, time.Hour, 0)
	}
	for name, first := range map[string]int{"Hit": 0, "Miss": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				m.find(spread(first+n%(1<<15)), 0)
			}
		})
	}
}

// spread is a digest as SHA-256 would make it: any bits.
func spread(n int) (d claim.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(d[8:], uint64(n)*0xbf58476d1ce4e5b9)
	return d
}
