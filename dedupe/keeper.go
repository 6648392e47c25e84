package dedupe

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

const (
	keeperShards = 16
	// maxExtensions is how many extensions travel together.
	maxExtensions = 4096
)

// keeper extends the leases of all running handlers, and the bus's redelivery
// timers with them. One goroutine watches the clock; what is due leaves in one
// batch. A message that ends before its first extension costs two locks and a
// place in a list: there is no order to keep among the leases, because the
// goroutine, which is up a few times in a lease, looks at all of a shard in which
// something is due.
type keeper struct {
	store   claim.Store
	lease   time.Duration
	margin  time.Duration
	maxRun  time.Duration
	now     func() time.Duration
	expired func(cause error) // told of each cancelled handler, without a lock

	shards  [keeperShards]keeperShard
	armed   atomic.Int64 // when the goroutine looks next, unless it is awake
	wake    chan struct{}
	stop    chan struct{}
	flights sync.WaitGroup // the goroutine and the batches that are out
}

// keeperShard has the leases of some keys.
type keeperShard struct {
	mu     sync.Mutex
	closed bool
	kept   []*attempt
	// wakeAt is when a lease has to be looked at, or earlier: it stays when that
	// lease ends. It is written with mu held.
	wakeAt atomic.Int64
	causes []error // of handlers that were cancelled under the lock
	sooner bool    // wakeAt was set to an earlier moment under the lock

	// Neighbouring shards must not share a cache line.
	_ [64]byte
}

func newKeeper(store claim.Store, o *Options, now func() time.Duration, expired func(error)) *keeper {
	k := &keeper{
		store: store, lease: o.Lease, margin: o.Margin, maxRun: o.MaxRun, now: now, expired: expired,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	for i := range k.shards {
		k.shards[i].wakeAt.Store(int64(never))
	}
	k.armed.Store(int64(never))
	k.flights.Go(k.watch)
	return k
}

// close cancels the handlers that still run, with cause, stops the keeper and
// waits until nothing of it runs.
func (k *keeper) close(cause error) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		s.closed = true
		for len(s.kept) > 0 {
			s.end(s.kept[0], cause, false)
		}
		s.unlock(k)
	}
	close(k.stop)
	k.flights.Wait()
}

// shard returns the shard of a, which its key decides.
func (k *keeper) shard(a *attempt) *keeperShard {
	return &k.shards[a.key.Digest()[1]%keeperShards]
}

// add keeps the lease of a claim that was granted to a and whose first send began
// at a.sent. It returns false when the lease is over at now, or the keeper is
// closed.
func (k *keeper) add(a *attempt, handler *lazyContext, now time.Duration) bool {
	return k.start(a, lease{claimed: true, handler: handler, every: k.lease / 3,
		next: a.sent, deadline: a.sent + k.lease - k.margin}, now)
}

// addUnclaimed keeps the bus's timer for a handler that runs without a claim.
func (k *keeper) addUnclaimed(a *attempt, now time.Duration) {
	if a.msg != nil && a.msg.KeepAlive != nil {
		k.start(a, lease{every: k.lease / 3, next: now, deadline: after(now, k.maxRun)}, now)
	}
}

// start begins to keep l as a's lease. Its next is that of the last extension.
func (k *keeper) start(a *attempt, l lease, now time.Duration) bool {
	if a.msg != nil && a.msg.KeepAlive != nil {
		l.keepAlive = a.msg.KeepAlive
		if l.ackWait = a.msg.AckWait; l.ackWait > 0 {
			l.every = min(l.every, l.ackWait/3)
			l.ackBy = after(now, l.ackWait)
		}
	}
	l.next += l.every
	l.runUntil = after(now, k.maxRun)
	s := k.shard(a)
	s.mu.Lock()
	defer s.unlock(k)
	l.kept, l.place = !s.closed && now < l.deadline, len(s.kept)
	a.lease = l
	if l.kept {
		s.kept = append(s.kept, a)
		s.lookAt(l.wakeAt())
	}
	return l.kept
}

// handlerReturned ends the bound on a's run: the lease is kept while the ending is
// committed.
func (k *keeper) handlerReturned(a *attempt) (ended error, lost bool) {
	s := k.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	a.lease.runUntil = 0
	return a.lease.ended, a.lease.lost
}

// remove stops keeping a's lease.
func (k *keeper) remove(a *attempt) {
	s := k.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.lease.kept {
		s.remove(a)
	}
	a.awaited = a.lease.flying
}

// holds reports whether a has a claim whose lease is kept.
func (k *keeper) holds(a *attempt) bool {
	s := k.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.lease.kept && a.lease.claimed
}

// remaining returns how long a's lease will hold at most without extension.
func (k *keeper) remaining(a *attempt) time.Duration {
	s := k.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.lease.deadline == 0 {
		return k.lease
	}
	return max(0, a.lease.deadline-k.now()+k.margin)
}

// remove takes a out of the list. The lock is held.
func (s *keeperShard) remove(a *attempt) {
	last := len(s.kept) - 1
	moved := s.kept[last]
	s.kept[a.lease.place], moved.lease.place = moved, a.lease.place
	s.kept[last] = nil
	s.kept = s.kept[:last]
	a.lease.kept = false
}

// end stops keeping a's lease and cancels its handler. The lock is held.
func (s *keeperShard) end(a *attempt, cause error, lost bool) {
	s.remove(a)
	l := &a.lease
	l.ended, l.lost = cause, lost
	// After the handler returned, the answer to the commit says more: an
	// extension that is refused may only have met our own completion.
	if running := l.runUntil != 0; running && l.handler != nil {
		l.handler.cancel(cause)
		s.causes = append(s.causes, cause)
	}
}

// lookAt has the shard looked at at t or sooner. The lock is held.
func (s *keeperShard) lookAt(t time.Duration) {
	if int64(t) < s.wakeAt.Load() {
		s.wakeAt.Store(int64(t))
		s.sooner = true
	}
}

// unlock gives the lock back, and then does what was left for that moment: it
// tells of the handlers that were cancelled, and wakes the goroutine if it has to
// look sooner than it would.
func (s *keeperShard) unlock(k *keeper) {
	causes, sooner := s.causes, s.sooner
	s.causes, s.sooner = nil, false
	s.mu.Unlock()
	if sooner && s.wakeAt.Load() < k.armed.Load() {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	for _, cause := range causes {
		k.expired(cause)
	}
}

func (k *keeper) watch() {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-k.wake:
		case <-timer.C:
		}
		for due := k.collect(); len(due) > 0; {
			batch := due[:min(len(due), maxExtensions)]
			due = due[len(batch):]
			k.flights.Go(func() { k.send(batch) })
		}
		timer.Reset(k.next() - k.now())
	}
}

// next returns when to look next, after which whoever adds a lease that has to be
// looked at sooner wakes the goroutine.
func (k *keeper) next() time.Duration {
	for {
		next := k.earliest()
		k.armed.Store(int64(next))
		// What was added in between was measured by the old value of armed.
		if k.earliest() >= next {
			return next
		}
	}
}

func (k *keeper) earliest() time.Duration {
	first := int64(never)
	for i := range k.shards {
		first = min(first, k.shards[i].wakeAt.Load())
	}
	return time.Duration(first)
}
