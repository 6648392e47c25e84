package dedupe

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// maxCooldowns bounds the doubling of the cooldown.
const maxCooldowns = 30

// circuit leaves a store alone that gave no answer several times in a row, and
// then lets one claim at a time through to see whether it is back.
type circuit struct {
	threshold int
	first     time.Duration
	changed   func(open bool) // called without the lock

	failures atomic.Int64 // in a row; read without the lock on the hot path
	mu       sync.Mutex
	open     bool
	probing  bool // the probe is out
	cooldown time.Duration
	until    time.Time // while open, no claim before this
}

// allow reports whether the store may be asked, and otherwise how long to wait.
func (c *circuit) allow() (wait time.Duration, ok bool) {
	if c.failures.Load() == 0 {
		return 0, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return 0, true
	}
	now := time.Now()
	if wait := c.until.Sub(now); wait > 0 {
		return wait, false
	}
	// This caller is the probe. Others wait another cooldown for its answer,
	// which may never come if its context ends.
	c.until, c.probing = now.Add(c.cooldown), true
	return 0, true
}

// answered notes that the store gave an answer.
func (c *circuit) answered() {
	if c.failures.Load() == 0 {
		return
	}
	c.mu.Lock()
	was := c.open
	c.failures.Store(0)
	c.open, c.probing, c.cooldown = false, false, c.first
	c.mu.Unlock()
	if was {
		c.changed(false)
	}
}

// failed notes that the store gave no answer. While the circuit is open the probe's
// word counts: the claims that were under way when it opened fail together, and say
// nothing of how long the store will take.
func (c *circuit) failed() {
	if c.threshold == Off {
		return
	}
	c.mu.Lock()
	was, counts := c.open, true
	switch {
	case was && c.probing:
		c.probing, c.cooldown = false, min(2*c.cooldown, maxCooldowns*c.first)
	case was:
		counts = false
	case c.failures.Add(1) >= int64(c.threshold):
		c.open, c.cooldown = true, c.first
	}
	if c.open && counts {
		c.until = time.Now().Add(c.cooldown/2 + rand.N(c.cooldown/2+1))
	}
	opened := c.open && !was
	c.mu.Unlock()
	if opened {
		c.changed(true)
	}
}

// pause returns how long a message should wait that found no store.
func (c *circuit) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := c.first
	if c.open {
		wait = max(wait, time.Until(c.until))
	}
	return jitter(wait)
}

// jitter returns d and up to a quarter more, so that what waited together does
// not come back together.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/4+time.Millisecond) }
