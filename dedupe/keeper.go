package dedupe

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// keeper extends the leases of all running handlers, and the bus's redelivery
// timers with them. One goroutine watches the clock; what is due leaves in one
// batch. Its cost does not grow with messages that end before their first
// extension: those are put into a heap and taken out again, without a timer or a
// goroutine of their own.
type keeper struct {
	store   claim.Store
	lease   time.Duration
	margin  time.Duration
	maxRun  time.Duration
	expired func(cause error) // told of each cancelled handler, without the lock

	mu      sync.Mutex
	closed  bool
	causes  []error // of handlers cancelled since expired was last called
	leases  leaseHeap
	armed   time.Time // when the goroutine will look next; zero: when it is woken
	wake    chan struct{}
	stop    chan struct{}
	flights sync.WaitGroup // the goroutine and the batches that are out
}

// lease is a running handler as the keeper sees it. The keeper's lock guards it.
type lease struct {
	cancel    context.CancelCauseFunc // nil: a handler that is not to be disturbed
	extend    claim.Op                // owned by the batch that is out, if flying; zero: no claim
	keepAlive func(context.Context) error
	ackWait   time.Duration
	every     time.Duration // between two extensions

	next     time.Time // of the next extension
	deadline time.Time // local end of the lease, margin included
	ackBy    time.Time // local end of the bus's timer; zero: none
	runUntil time.Time // end of MaxRun; zero: the handler has returned
	flying   bool
	ended    error // why the lease is no longer kept
	lost     bool  // the store said so: another owner may be running
	kept     bool  // in the heap, at index
	index    int
}

func newKeeper(store claim.Store, o *Options, expired func(error)) *keeper {
	k := &keeper{
		store: store, lease: o.Lease, margin: o.Margin, maxRun: o.MaxRun, expired: expired,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	k.flights.Go(k.watch)
	return k
}

// close cancels the handlers that still run, with cause, stops the keeper and
// waits until nothing of it runs.
func (k *keeper) close(cause error) {
	k.mu.Lock()
	k.closed = true
	for len(k.leases) > 0 {
		k.end(k.leases[0], cause, false)
	}
	k.unlock()
	close(k.stop)
	k.flights.Wait()
}

// add keeps the lease of a claim whose first send began at sent. It returns false
// when the lease is over already, or the keeper is closed.
func (k *keeper) add(l *lease, key claim.Key, g claim.Grant, sent time.Time, m *bus.Message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.extend = claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: k.lease}
	l.deadline = sent.Add(k.lease - k.margin)
	return k.start(l, sent, m)
}

// addUnclaimed keeps the bus's timer for a handler that runs without a claim.
func (k *keeper) addUnclaimed(l *lease, m *bus.Message) {
	if m == nil || m.KeepAlive == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	l.deadline = now.Add(k.maxRun)
	k.start(l, now, m)
}

// start begins to keep l, whose claim and deadline are set. The lock is held.
func (k *keeper) start(l *lease, sent time.Time, m *bus.Message) bool {
	now := time.Now()
	l.every = k.lease / 3
	if m != nil && m.KeepAlive != nil {
		l.keepAlive = m.KeepAlive
		if l.ackWait = m.AckWait; l.ackWait > 0 {
			l.every = min(l.every, l.ackWait/3)
			l.ackBy = now.Add(l.ackWait)
		}
	}
	l.next = sent.Add(l.every)
	l.runUntil = now.Add(k.maxRun)
	if k.closed || !now.Before(l.deadline) {
		return false
	}
	heap.Push(&k.leases, l)
	l.kept = true
	k.arm(l.wakeAt())
	return true
}

// handlerReturned ends the bound on the run: the lease is kept while the ending
// is committed.
func (k *keeper) handlerReturned(l *lease) (ended error, lost bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.runUntil = time.Time{}
	if l.kept {
		heap.Fix(&k.leases, l.index)
	}
	return l.ended, l.lost
}

// remove stops keeping the lease.
func (k *keeper) remove(l *lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.kept {
		heap.Remove(&k.leases, l.index)
	}
}

// remaining returns how long the lease will hold at most without extension.
func (k *keeper) remaining(l *lease) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.deadline.IsZero() {
		return k.lease
	}
	return max(0, time.Until(l.deadline)+k.margin)
}

// arm makes the goroutine look at t or sooner. The lock is held.
func (k *keeper) arm(t time.Time) {
	if !k.armed.IsZero() && !t.Before(k.armed) {
		return
	}
	k.armed = t
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) watch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-k.wake:
		case <-timer.C:
		}
		due, next := k.collect(time.Now())
		if len(due) > 0 {
			k.flights.Go(func() { k.send(due) })
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// collect ends what is over, returns what is due for extension, and says when to
// look again. What is due within an eighth of its interval goes along, so that
// claims made at different moments leave together.
func (k *keeper) collect(now time.Time) (due []*lease, next time.Time) {
	k.mu.Lock()
	defer k.unlock()
	for len(k.leases) > 0 {
		l := k.leases[0]
		slack := l.every / 8
		if cause := l.over(now); cause != nil {
			k.end(l, cause, false)
		} else if !l.flying && !l.next.After(now.Add(slack)) {
			l.flying = true
			heap.Fix(&k.leases, 0)
			due = append(due, l)
		} else {
			break
		}
	}
	k.armed = time.Time{}
	if len(k.leases) > 0 {
		k.armed = k.leases[0].wakeAt()
	}
	return due, k.armed
}

// send extends a batch of leases and notes the answers.
func (k *keeper) send(due []*lease) {
	sent := time.Now()
	// Less than the time until the next look, so that batches do not pile up on
	// a store that hangs.
	ctx, cancel := context.WithTimeout(context.Background(), k.lease/4)
	defer cancel()
	ops := make([]*claim.Op, 0, len(due))
	alive := make([]error, len(due))
	for _, l := range due {
		if l.extend.Kind != 0 {
			ops = append(ops, &l.extend)
		}
	}
	var buses sync.WaitGroup
	buses.Go(func() {
		for i, l := range due {
			if l.keepAlive != nil {
				alive[i] = l.keepAlive(ctx)
			}
		}
	})
	if len(ops) > 0 {
		claim.Apply(ctx, k.store, ops)
	}
	buses.Wait()

	k.mu.Lock()
	defer k.unlock()
	now := time.Now()
	for i, l := range due {
		l.flying = false
		if !l.kept {
			continue
		}
		switch err := l.extend.Err; {
		case l.extend.Kind == 0:
			l.next = sent.Add(l.every)
		case err == nil:
			l.deadline = sent.Add(k.lease - k.margin)
			l.next = sent.Add(l.every)
		case errors.Is(err, claim.ErrLost):
			k.end(l, fmt.Errorf("%w: %w", ErrLeaseLost, err), true)
			continue
		default:
			l.next = now.Add(l.every / 4)
		}
		if alive[i] != nil {
			l.next = now.Add(l.every / 4)
		} else if !l.ackBy.IsZero() {
			l.ackBy = sent.Add(l.ackWait)
		}
		heap.Fix(&k.leases, l.index)
		k.arm(l.wakeAt())
	}
}

// end stops keeping l and cancels its handler. The lock is held.
func (k *keeper) end(l *lease, cause error, lost bool) {
	heap.Remove(&k.leases, l.index)
	l.ended, l.lost = cause, lost
	// After the handler returned, the answer to the commit says more: an
	// extension that is refused may only have met our own completion.
	if running := !l.runUntil.IsZero(); running && l.cancel != nil {
		l.cancel(cause)
		k.causes = append(k.causes, cause)
	}
}

// unlock gives the lock back and then tells of the handlers that were cancelled
// under it.
func (k *keeper) unlock() {
	causes := k.causes
	k.causes = nil
	k.mu.Unlock()
	for _, cause := range causes {
		k.expired(cause)
	}
}

// over returns why the lease cannot be kept any longer at now, or nil.
func (l *lease) over(now time.Time) error {
	switch {
	case !now.Before(l.deadline):
		return fmt.Errorf("%w: the store was not heard from in time", ErrLeaseLost)
	case !l.runUntil.IsZero() && !now.Before(l.runUntil):
		return ErrMaxRun
	case !l.ackBy.IsZero() && !now.Before(l.ackBy):
		return fmt.Errorf("%w: the bus's redelivery timer could not be extended", ErrLeaseLost)
	}
	return nil
}

// wakeAt returns when the keeper has to look at l next.
func (l *lease) wakeAt() time.Time {
	t := l.deadline
	if !l.flying && l.next.Before(t) {
		t = l.next
	}
	if !l.runUntil.IsZero() && l.runUntil.Before(t) {
		t = l.runUntil
	}
	if !l.ackBy.IsZero() && l.ackBy.Before(t) {
		t = l.ackBy
	}
	return t
}

// leaseHeap is a heap.Interface by wakeAt.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].wakeAt().Before(h[j].wakeAt()) }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push appends a *lease, for container/heap.
func (h *leaseHeap) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop removes the last *lease, for container/heap.
func (h *leaseHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.kept = false
	return l
}
