package pebblestore

import (
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

// markEvery is how often the time is written down. A wall clock that was set back
// while the store was closed costs no more than that.
const markEvery = 100 * time.Millisecond

// clock is the store's time: that of its start, and what passed since.
type clock struct {
	now func() claim.Instant
	// marked is the last time that was written down.
	marked atomic.Int64
}

// start begins at the wall clock's time, or at written where that is later. It
// returns how far the wall clock is behind.
func (c *clock) start(now func() time.Time, written claim.Instant) (behind time.Duration) {
	began := now()
	first := max(claim.Instant(began.UnixMicro()), written)
	c.now = func() claim.Instant { return first.Add(now().Sub(began)) }
	c.marked.Store(int64(written))
	return first.Sub(claim.Instant(began.UnixMicro()))
}

// mark reports whether the caller must write now down.
func (c *clock) mark(now claim.Instant) bool {
	last := c.marked.Load()
	return now.Sub(claim.Instant(last)) >= markEvery && c.marked.CompareAndSwap(last, int64(now))
}
