package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrDrainTimeout is the cause (context.Cause) with which a handler's context
// ends when the consumer was told to stop and the handler did not return in
// time. A consumer that had to leave handlers behind returns it.
var ErrDrainTimeout = errors.New("bus: handlers did not return within the drain timeout")

// drainGrace is how long a handler has to return after its context ended: time
// for a last trip to a store, not for more work.
const drainGrace = 5 * time.Second

// Group runs the handlers of one consumer, each in a goroutine that is its own
// while it runs, and drains them, so that every adapter stops in the same way. A
// handler that takes its goroutine away by runtime.Goexit takes nobody else's.
type Group struct {
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	running atomic.Int64
	work    chan func() // to goroutines that have nothing to do
	stop    chan struct{}
}

// NewGroup returns a Group and the context for its handlers. That context has
// ctx's values and not its end: a consumer stops when ctx ends, but what already
// runs may finish. [Group.Drain] ends it.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	hctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	return &Group{cancel: cancel, work: make(chan func()), stop: make(chan struct{})}, hctx
}

// Go calls run in a goroutine. When Drain was called, only the goroutines of the
// Group may call it.
func (g *Group) Go(run func()) {
	g.running.Add(1)
	select {
	case g.work <- run: // its stack has grown to what handlers need
	default:
		g.wg.Add(1)
		go g.loop(run)
	}
}

// loop calls run and then what it is sent, until the Group is drained.
func (g *Group) loop(run func()) {
	defer g.wg.Done()
	for {
		g.call(run)
		select {
		case run = <-g.work:
		case <-g.stop:
			return
		}
	}
}

func (g *Group) call(run func()) {
	defer g.running.Add(-1)
	run()
}

// Running returns how many calls have not returned.
func (g *Group) Running() int { return int(g.running.Load()) }

// Drain waits until all calls have returned. After timeout it ends the handlers'
// context with the cause ErrDrainTimeout, and five seconds later it gives up and
// returns an error that wraps ErrDrainTimeout; the handlers that are left still
// settle their messages when they return. It must be called once.
func (g *Group) Drain(timeout time.Duration) error {
	defer g.cancel(nil)
	close(g.stop)
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	g.cancel(ErrDrainTimeout)
	timer.Reset(drainGrace)
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: %d still run", ErrDrainTimeout, g.Running())
	}
}
