package dedupe

import (
	"context"
	"sync"
	"time"
)

// lazyContext is a context that can be cancelled and becomes a real one when
// somebody asks for Done or when it is cancelled: most handlers are quick and do
// neither, and a real one costs more than the rest of the way. Children,
// AfterFunc and context.Cause see the real one, because all of them ask for Done
// or Err first.
type lazyContext struct {
	parent context.Context

	mu   sync.Mutex
	real context.Context // nil: not made yet
	stop context.CancelCauseFunc
	over bool
}

// Deadline returns the parent's.
func (c *lazyContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

func (c *lazyContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realize()
	return c.real.Done()
}

func (c *lazyContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil && c.over {
		c.realize()
	}
	if c.real == nil {
		return c.parent.Err()
	}
	return c.real.Err()
}

// Value hands package context the real one, if it looks for it.
func (c *lazyContext) Value(key any) any {
	c.mu.Lock()
	ctx := c.real
	c.mu.Unlock()
	if ctx == nil {
		ctx = c.parent
	}
	return ctx.Value(key)
}

// realize makes the real context. The lock is held.
func (c *lazyContext) realize() {
	if c.real != nil {
		return
	}
	c.real, c.stop = context.WithCancelCause(c.parent)
	if c.over {
		c.stop(nil)
	}
}

// cancel cancels the context because of cause.
func (c *lazyContext) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realize()
	c.stop(cause)
}

// end cancels the context when the attempt is over. Who has kept it then finds it
// cancelled.
func (c *lazyContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.real != nil {
		c.stop(nil)
	}
}
