package redisstore

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// Stats are what a Store has seen since it was made.
type Stats struct {
	// ClockSteps is how often the clock of a server was seen to have moved by
	// more than half a second against this process's. A step forward ends leases
	// early, so that handlers may run side by side; a step back keeps what a dead
	// owner held for longer. It is counted for each server by itself; servers of a
	// client that is no *redis.Client, *redis.ClusterClient or *redis.Ring are not
	// watched.
	ClockSteps int64
	// LastClockStep is by how much the last of them was at least: above zero
	// forward, below zero back.
	LastClockStep time.Duration
}

// Stats returns the counts so far. It is safe for concurrent use.
func (s *Store) Stats() Stats { return s.clocks.read() }

const (
	// stepBeyond is what passes for slewing and for a sloppy clock, between two
	// replies of a server.
	stepBeyond = 500 * time.Millisecond
	// Clocks that nobody steps part by a thousandth of the time at most: NTP slews
	// each by half of that.
	driftShare = 1000
	// warnEvery is how long a logger is left in peace.
	warnEvery = time.Minute
)

// clocks compares the servers' clocks with the process's own, which is monotonic.
// Every reply tells the server's time at some moment between sending and
// receiving, so a slow reply tells little and never something wrong.
type clocks struct {
	logger *slog.Logger
	start  time.Time

	mu       sync.Mutex // guards the following
	byServer map[string]*clock
	stats    Stats
	warned   time.Duration // when the logger may be told again
}

// clock is one server's. It is ahead of the process's by at least least and at
// most most.
type clock struct {
	least, most time.Duration
	at          time.Duration // when that was seen
	since       time.Duration // calls sent earlier may have met the clock before its step
}

func newClocks(logger *slog.Logger) *clocks {
	return &clocks{logger: logger, start: time.Now(), byServer: make(map[string]*clock)}
}

// now is the process's time.
func (w *clocks) now() time.Duration { return time.Since(w.start) }

func (w *clocks) read() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// watchClock looks at the time in the first reply of f, which was sent at sent
// or later.
func (s *Store) watchClock(ctx context.Context, f *flight, sent time.Duration) {
	now, ok := f.fresh.serverTime()
	key := ""
	if !ok {
		if len(f.calls) == 0 {
			return
		}
		c := f.calls[0]
		r := reply{rest: c.cmd.Val()}
		if c.fate != nil || !r.open(c.stamp.nonce[:]) {
			return
		}
		now, key = r.now, c.key
	}
	got := s.clocks.now()
	if node := s.nodeOf(ctx, key); node != nil {
		s.clocks.look(node.Options().Addr, sent, got, now)
	}
}

// serverTime returns what the time of the one server is between at now, if that is
// known well enough.
func (s *Store) serverTime(now time.Duration) (low, high claim.Instant, ok bool) {
	node, single := s.client.(*redis.Client)
	if !single {
		return 0, 0, false
	}
	return s.clocks.bounds(node.Options().Addr, now)
}

// bounds returns what the time of a server is between at now, if it was heard of
// within maxUnseen and is known to maxSpread.
func (w *clocks) bounds(server string, now time.Duration) (low, high claim.Instant, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.byServer[server]
	if c == nil || now-c.at > maxUnseen {
		return 0, 0, false
	}
	drift := max(0, now-c.at) / driftShare // another trip may have landed since now
	low, high = claim.Instant(0).Add(now+c.least-drift), claim.Instant(0).Add(now+c.most+drift)
	return low, high, high.Sub(low) <= maxSpread
}

// look compares the server's time in a reply with the process's.
func (w *clocks) look(server string, sent, got time.Duration, now claim.Instant) {
	if !w.mu.TryLock() {
		return // somebody else looks
	}
	c := w.byServer[server]
	if c == nil {
		c = new(clock)
		w.byServer[server] = c
	}
	step := c.look(sent, got, now.Sub(0))
	warn := step != 0 && (w.stats.ClockSteps == 0 || got >= w.warned)
	if step != 0 {
		w.stats.ClockSteps++
		w.stats.LastClockStep = step
	}
	if warn {
		w.warned = got + warnEvery
	}
	steps := w.stats.ClockSteps
	w.mu.Unlock()
	if warn {
		w.logger.Warn("redisstore: the clock of a Redis server was stepped: leases end early, or late, by as much",
			"server", server, "by", step.Round(time.Millisecond), "steps", steps)
	}
}

// look takes a reply down and returns by how much the clock was stepped since the
// last, at least, or 0.
func (c *clock) look(sent, got, now time.Duration) (step time.Duration) {
	if sent < c.since {
		return 0
	}
	least, most := now-got, now-sent
	drift := max(0, got-c.at) / driftShare
	low, high := c.least-drift, c.most+drift
	switch {
	case c.at == 0: // the first
		low, high = least, most
	case least-high > stepBeyond:
		step = least - high
	case low-most > stepBeyond:
		step = most - low
	}
	low, high = max(low, least), min(high, most)
	if low > high { // it was moved
		low, high = least, most
	}
	if step != 0 {
		c.since = got
	}
	c.least, c.most, c.at = low, high, got
	return step
}
