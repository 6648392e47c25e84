package dedupe

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/claim"
)

func digest(n int) (d claim.Digest) {
	d[0] = byte(n)
	binary.BigEndian.PutUint64(d[8:], uint64(n))
	return d
}

func (m *memory) has(n int) bool { _, ok := m.find(digest(n)); return ok }

func TestMemoryForgetsAfterTheShorterOfTTLAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(100, time.Minute)
		m.add(digest(1), claim.Fingerprint{}, time.Hour)
		m.add(digest(2), claim.Fingerprint{}, time.Second)
		<-time.After(time.Second)
		if !m.has(1) || m.has(2) {
			t.Error("after the retention of 2: want 1 and not 2")
		}
		m.add(digest(1), claim.Fingerprint{}, time.Hour)
		<-time.After(59 * time.Second)
		if !m.has(1) {
			t.Error("an id that was added again is forgotten after its first minute")
		}
		<-time.After(time.Second)
		if m.has(1) {
			t.Error("after a minute the id is still remembered")
		}
	})
}

func TestMemoryIsBoundedAndForgetsTheOldest(t *testing.T) {
	const size = 10 * memoryShards
	m := newMemory(size, time.Minute)
	for n := range 100 * size {
		m.add(digest(n), claim.Fingerprint{}, time.Hour)
		m.forget(digest(n - 3))
	}
	for i := range m.shards {
		if s := &m.shards[i]; len(s.entries) > s.size || len(s.ring) > s.size {
			t.Fatalf("a shard of %d holds %d entries in a ring of %d", s.size, len(s.entries), len(s.ring))
		}
	}
	if !m.has(100*size-1) || m.has(0) || m.has(100*size-4) {
		t.Error("want the newest, not the oldest, and not what was forgotten")
	}
}

func TestMemoryKeepsAnIDThatWasForgottenAndAddedAgainUntilItsTurn(t *testing.T) {
	m := newMemory(2*memoryShards, time.Minute)
	first, second, third := digest(0), digest(256), digest(512) // one shard
	m.add(first, claim.Fingerprint{}, time.Hour)
	m.forget(first)
	m.add(first, claim.Fingerprint{}, time.Hour)  // in the second slot now
	m.add(second, claim.Fingerprint{}, time.Hour) // takes the first slot
	if _, ok := m.find(first); !ok {
		t.Error("making room for another dropped the newer entry")
	}
	m.add(third, claim.Fingerprint{}, time.Hour)
	if _, ok := m.find(first); ok {
		t.Error("the oldest entry was not dropped")
	}
}

func TestMemorySwitchedOffRemembersNothing(t *testing.T) {
	m := newMemory(Off, time.Minute)
	m.add(digest(1), claim.Fingerprint{}, time.Hour)
	m.forget(digest(1))
	if m.has(1) {
		t.Error("a memory that is off found an id")
	}
}

func TestMemoryFindDoesNotAllocate(t *testing.T) {
	m := newMemory(100, time.Minute)
	m.add(digest(1), claim.Fingerprint{}, time.Hour)
	if n := testing.AllocsPerRun(100, func() { m.has(1); m.has(2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
