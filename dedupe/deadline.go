package dedupe

import (
	"context"
	"sync/atomic"
	"time"
)

// deadlines gives calls to the store contexts that end after a timeout. Calls
// that begin within a sixteenth of the timeout after each other, under parents
// that are cancelled together, share one deadline, so that a call costs neither a
// timer nor an allocation; the later ones have up to a sixteenth less.
type deadlines struct {
	timeout  time.Duration
	detached bool // the calls are not cancelled with their parents
	last     atomic.Pointer[deadline]
}

// deadline is what the calls of a sixteenth share.
type deadline struct {
	parent <-chan struct{}    // the Done of the parents; nil: they are never cancelled
	ctx    context.Context    // nil: such a parent was seen once
	cancel context.CancelFunc // for the end of the Deduper
	until  time.Duration      // later calls get another
}

// callContext is the context of a call: the end of the shared one, and the values
// of the caller's. It is not used again after the call, for a store may keep it.
type callContext struct {
	context.Context
	values context.Context
}

func (c *callContext) Value(key any) any { return c.values.Value(key) }

// AfterFunc spares package context a goroutine for each context that is made of
// this one.
func (c *callContext) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.Context, f) }

// begin returns the context of a call that begins at now: c, or one of its own
// while the parents differ from call to call. The caller calls end when the call
// has returned.
func (d *deadlines) begin(c *callContext, parent context.Context, now time.Duration) (ctx context.Context, end context.CancelFunc) {
	var done <-chan struct{}
	if !d.detached {
		done = parent.Done()
	}
	last := d.last.Load()
	if last == nil || last.parent != done || last.ctx == nil || now >= last.until {
		if last = d.another(last, parent, done, now); last.ctx == nil {
			return context.WithTimeout(parent, d.timeout)
		}
	}
	c.Context, c.values = last.ctx, parent
	return c, shared
}

// shared ends a call: its deadline is for others too.
func shared() {}

// another returns a deadline for a call under parent that begins at now, and for
// those that follow. A parent that is cancelled by itself, as that of a request,
// is not worth one.
func (d *deadlines) another(last *deadline, parent context.Context, done <-chan struct{}, now time.Duration) *deadline {
	next := &deadline{parent: done}
	if done == nil {
		parent = context.Background() // its values are not for others
	}
	if done == nil || last != nil && last.parent == done {
		next.ctx, next.cancel = context.WithTimeout(parent, d.timeout)
		next.until = now + d.timeout/16
	}
	d.last.Store(next)
	return next
}

// close ends the latest deadline, which nobody needs any more. Those before it
// end by themselves.
func (d *deadlines) close() {
	if last := d.last.Load(); last != nil && last.cancel != nil {
		last.cancel()
	}
}
