package dedupe

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// numbered returns the key of a short id, or for every third number of a long one,
// which is remembered by its digest.
func numbered(n int) *claim.Key {
	id := strconv.Itoa(n)
	if n%3 == 0 {
		id += strings.Repeat(" long", 12)
	}
	key, err := claim.NewKey("", "billing", claim.MessageID(id))
	if err != nil {
		panic(err)
	}
	return &key
}

func (m *memory) has(n int) bool { _, ok := m.find(numbered(n), 0); return ok }

// neighbours returns keys that share a shard of m.
func (m *memory) neighbours(n int) (keys []*claim.Key) {
	for i := 0; len(keys) < n; i++ {
		key := numbered(i)
		id := m.idOf(key)
		if s, _ := m.locate(&id); s == &m.shards[0] {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestMemoryForgetsAfterTheShorterOfTTLAndRetention(t *testing.T) {
	m := newMemory(100, time.Minute, "")
	has := func(n int, now time.Duration) bool { _, ok := m.find(numbered(n), now); return ok }
	m.add(numbered(1), claim.Fingerprint{}, time.Hour, 0)
	m.add(numbered(2), claim.Fingerprint{}, time.Second, 0)
	if !has(1, time.Second) || has(2, time.Second) {
		t.Error("after the retention of 2: want 1 and not 2")
	}
	m.add(numbered(1), claim.Fingerprint{}, time.Hour, time.Second)
	if !has(1, time.Minute) {
		t.Error("an id that was added again is forgotten after its first minute")
	}
	if has(1, time.Minute+time.Second) {
		t.Error("after a minute the id is still remembered")
	}
}

func TestMemoryIsBoundedAndForgetsTheOldest(t *testing.T) {
	const size = 10 * memoryShards
	m := newMemory(size, time.Minute, "")
	for n := range 100 * size {
		m.add(numbered(n), claim.Fingerprint{}, time.Hour, 0)
		m.forget(numbered(n - 3))
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
	m := newMemory(2*memoryShards, time.Minute, "")
	keys := m.neighbours(3)
	first, second, third := keys[0], keys[1], keys[2]
	add := func(k *claim.Key) { m.add(k, claim.Fingerprint{}, time.Hour, 0) }
	has := func(k *claim.Key) bool { _, ok := m.find(k, 0); return ok }
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
	m := newMemory(size*memoryShards, time.Minute, "")
	keys := m.neighbours(40) // more than the cells of their index
	known := map[*claim.Key]claim.Fingerprint{}
	var arrived []*claim.Key // the last size places; a forgotten id keeps its own
	for range 100_000 {
		k := keys[rand.N(len(keys))]
		_, had := known[k]
		switch rand.N(3) {
		case 0:
			fp := claim.Fingerprint{byte(rand.N(2))}
			m.add(k, fp, time.Hour, 0)
			if known[k] = fp; had {
				break
			}
			if arrived = append(arrived, k); len(arrived) > size {
				delete(known, arrived[0])
				arrived = arrived[1:]
			}
		case 1:
			m.forget(k)
			for i := range arrived {
				if had && arrived[i] == k {
					arrived[i] = nil // nobody's
				}
			}
			delete(known, k)
		}
		k = keys[rand.N(len(keys))]
		fp, ok := m.find(k, 0)
		if want, had := known[k]; ok != had || fp != want {
			t.Fatalf("found %v, %v; want %v, %v", fp, ok, want, had)
		}
	}
}

// What is remembered by its digest is not found by an id of the same bytes, nor an
// id of another namespace by its bytes.
func TestMemoryTellsIDsFromDigestsAndNamespaces(t *testing.T) {
	m := newMemory(100, time.Minute, "ours")
	key := func(namespace, id string) *claim.Key {
		k, err := claim.NewKey(namespace, "billing", claim.MessageID(id))
		if err != nil {
			t.Fatal(err)
		}
		return &k
	}
	long := key("ours", strings.Repeat("x", maxShortID+1))
	theirs := key("theirs", "7")
	longest := key("ours", strings.Repeat("x", maxShortID))
	for _, k := range []*claim.Key{long, theirs, longest} {
		m.add(k, claim.Fingerprint{1}, time.Hour, 0)
		if _, ok := m.find(k, 0); !ok {
			t.Errorf("%v was added and is not found", k)
		}
	}
	digest := long.Digest()
	for _, id := range []string{string(digest[:]), string(long.ID()), "7", ""} {
		if _, ok := m.findID(id, 0); ok {
			t.Errorf("the id %q is found that was not added", id)
		}
	}
	if fp, ok := m.findID(string(longest.ID()), 0); !ok || fp != (claim.Fingerprint{1}) {
		t.Error("an id that was added is not found without a key")
	}
}

func TestMemorySwitchedOffRemembersNothing(t *testing.T) {
	m := newMemory(Off, time.Minute, "")
	m.add(numbered(1), claim.Fingerprint{}, time.Hour, 0)
	m.forget(numbered(1))
	if m.has(1) {
		t.Error("a memory that is off found an id")
	}
}

func TestMemoryDoesNotAllocateOnceItIsFull(t *testing.T) {
	const size = 64 * memoryShards
	m := newMemory(size, time.Minute, "")
	n := 0
	keys := manyKeys(4*size + 2)
	add := func() {
		m.add(keys[n], claim.Fingerprint{}, time.Hour, 0)
		n++
	}
	for range 3 * size {
		add()
	}
	if allocs := testing.AllocsPerRun(size, func() { add(); m.find(keys[n-1], 0); m.find(keys[0], 0) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// One operation is one id that comes and pushes out the oldest.
func BenchmarkMemoryAdd(b *testing.B) {
	m := newMemory(1<<16, time.Minute, "")
	keys := manyKeys(1 << 17)
	b.ReportAllocs()
	for n := range b.N {
		m.add(keys[n%len(keys)], claim.Fingerprint{}, time.Hour, 0)
	}
}

func BenchmarkMemoryFind(b *testing.B) {
	m := newMemory(1<<16, time.Minute, "")
	keys := manyKeys(1 << 17)
	for n := range 1 << 16 {
		m.add(keys[n], claim.Fingerprint{}, time.Hour, 0)
	}
	for name, first := range map[string]int{"Hit": 0, "Miss": 1 << 16} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				m.find(keys[first+n%(1<<15)], 0)
			}
		})
	}
}

func manyKeys(n int) []*claim.Key {
	keys := make([]*claim.Key, n)
	for i := range keys {
		keys[i] = numbered(i)
	}
	return keys
}
