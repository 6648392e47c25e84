package memstore

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"

	"github.com/oncebus/once/claim"
)

// dropsPerInsert is how many expired records a new one pushes out. At two, a
// store whose records end at the rate they come stays at the size of its live
// records, and no call ever pays for more than two.
const dropsPerInsert = 2

// shard holds the records of some digests.
type shard struct {
	room *room
	// nextEnd is the expiry of the record or chunk that ends first, so that reclaim may
	// look without the lock. It is written with mu held.
	nextEnd atomic.Int64

	mu    sync.Mutex
	table table // guarded by mu
	// chunks are guarded by mu. A key has a record or a bit, not both.
	chunks chunks
	// lastFence is the highest fence of a record that is gone, or that is done and
	// need not keep it. A key that comes back gets a higher one, whatever the clock
	// says, unless it is remembered by its place. Guarded by mu.
	lastFence uint64

	// Neighbouring shards must not share a cache line.
	_ [64]byte
}

func (sh *shard) init(r *room, positions bool) {
	sh.room = r
	sh.table.init()
	if positions {
		sh.chunks.init(r)
	}
	sh.nextEnd.Store(math.MaxInt64)
}

// step carries out op and reports false when the new record that it needs has
// no room; op is unchanged then but for its answer. The clock is read with the
// lock held, so that time does not run backwards for any key.
func (sh *shard) step(op *claim.Op, clock func() claim.Instant) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := clock()
	digest := op.Key.Digest()
	at, found := sh.table.find(digest)
	if found && now >= sh.table.expires(at) {
		sh.drop(at)
		found = false
	}
	var rec claim.Record
	var marked bool
	switch {
	case found:
		rec = sh.table.load(at)
	case sh.chunks.holds(&op.Key):
		// Fences of positions rise with the clock alone: one that is ahead of it cannot
		// be left to a bit, and the last one of many neighbours often is.
		rec, marked = sh.chunks.done(&op.Key, now)
	default:
		// An absent record carries the last fence that the key may have had.
		rec.Fence = sh.lastFence
	}
	next, write := claim.Step(rec, op, now)
	switch {
	case !write:
		op.Verdict.Result = bytes.Clone(op.Verdict.Result)
	case marked: // an operator forgets or revives it
		if next.State != claim.StateAbsent && !sh.insert(digest, next, now) {
			return false
		}
		sh.chunks.unmark(&op.Key, now)
	case found && sh.chunks.mark(op, &next, now):
		sh.drop(at)
	case !found:
		return sh.insert(digest, next, now)
	case next.State == claim.StateAbsent:
		sh.drop(at)
	default:
		sh.replace(at, rec, next)
	}
	return true
}

// insert adds a record, or reports that there is no room for it.
func (sh *shard) insert(digest claim.Digest, rec claim.Record, now claim.Instant) bool {
	for range dropsPerInsert {
		if !sh.dropOne(now) {
			break
		}
	}
	if !sh.room.take(cost(&rec)) {
		return false
	}
	rec.Result = bytes.Clone(rec.Result)
	sh.table.insert(digest, rec)
	sh.noteEnd()
	return true
}

// replace writes next over the record at at, which is old. It cannot fail: a
// result without room is omitted.
func (sh *shard) replace(at uint32, old, next claim.Record) {
	before := cost(&old)
	more := cost(&next) - before
	if more > 0 && !sh.room.grow(more) {
		if next.Result != nil {
			next.Result, next.Omitted = nil, true
		}
		more = cost(&next) - before
		sh.room.bytes.Add(more)
	} else if more < 0 {
		sh.room.bytes.Add(more)
	}
	if next.State == claim.StateDone {
		sh.lastFence = max(sh.lastFence, old.Fence)
	}
	next.Result = bytes.Clone(next.Result)
	sh.table.replace(at, next)
	sh.noteEnd()
}

// dropExpired removes every record that is over and reports whether there was
// one.
func (sh *shard) dropExpired(now claim.Instant) bool {
	if int64(now) < sh.nextEnd.Load() {
		return false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	dropped := sh.chunks.drop(now)
	for sh.dropOne(now) {
		dropped = true
	}
	sh.noteEnd()
	return dropped
}

// dropOne removes the record that ends first if it is over.
func (sh *shard) dropOne(now claim.Instant) bool {
	at, end, ok := sh.table.first()
	if !ok || now < end {
		return false
	}
	sh.drop(at)
	return true
}

func (sh *shard) drop(at uint32) {
	fence, bytes := sh.table.weigh(at)
	sh.lastFence = max(sh.lastFence, fence)
	sh.room.give(bytes)
	sh.table.remove(at)
	sh.noteEnd()
}

func (sh *shard) noteEnd() {
	end := int64(math.MaxInt64)
	if _, e, ok := sh.table.first(); ok {
		end = int64(e)
	}
	if sh.chunks.room != nil {
		end = min(end, int64(sh.chunks.next))
	}
	if sh.nextEnd.Load() != end {
		sh.nextEnd.Store(end)
	}
}
