package natsstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

// How old the last answer about the server's time may be. What a read record is
// judged by must be recent, since a clock that was stepped is noticed by asking
// only; a fence must rise, and may be a little behind.
const (
	judgeAge = time.Second
	fenceAge = time.Minute
)

// clock tells the server's time, from below: never a moment that the server has
// not reached, and for an operation none before it began. It is safe for
// concurrent use.
type clock struct {
	// ask returns the server's time at some moment during the call.
	ask func(ctx context.Context) (claim.Instant, error)

	last   atomic.Pointer[sample]
	asking chan struct{} // holds a value while somebody asks
}

// sample is what the server said its time is, when its answer was here, and how
// long that took.
type sample struct {
	server claim.Instant
	at     time.Time // with its monotonic part
	took   time.Duration
}

func newClock(ask func(ctx context.Context) (claim.Instant, error)) *clock {
	c := &clock{ask: ask, asking: make(chan struct{}, 1)}
	c.last.Store(&sample{})
	return c
}

// now returns the server's time by the last answer. It is to be called after
// renew.
func (c *clock) now() claim.Instant {
	s := c.last.Load()
	return s.server.Add(time.Since(s.at))
}

// renew asks the server unless its last answer is good for an operation that
// began at began and may go by an answer of that age.
func (c *clock) renew(ctx context.Context, age time.Duration, began time.Time) error {
	if c.good(age, began) {
		return nil
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.good(age, began) { // somebody else asked meanwhile
		return nil
	}
	asked := time.Now()
	server, err := c.ask(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	c.last.Store(&sample{server, now, now.Sub(asked)})
	return nil
}

// good reports whether the last answer is recent and puts the time within the
// operation: it is behind the server's by at most what it took, so the operation
// must have lasted for that long.
func (c *clock) good(age time.Duration, began time.Time) bool {
	s := c.last.Load()
	return time.Since(s.at) <= age && time.Since(began) >= s.took
}
