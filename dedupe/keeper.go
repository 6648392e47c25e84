package dedupe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

const (
	keeperShards = 16
	// maxExtensions is how many extensions travel together.
	maxExtensions = 4096
	// never is later than any moment.
	never = time.Duration(math.MaxInt64)
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

// lease is a running handler as the keeper sees it. Its moments are those of the
// keeper's clock. The lock of its shard guards it.
type lease struct {
	claimed   bool         // there is a claim to be extended
	handler   *lazyContext // nil: one that is not to be disturbed
	keepAlive func(context.Context) error
	ackWait   time.Duration
	every     time.Duration // between two extensions

	next     time.Duration // of the next extension
	deadline time.Duration // local end of the lease, margin included; zero: not kept yet
	ackBy    time.Duration // local end of the bus's timer; zero: none
	runUntil time.Duration // end of MaxRun; zero: the handler has returned
	ended    error         // why the lease is no longer kept
	lost     bool          // the store said so: another owner may be running
	flying   bool          // in a batch that is out
	kept     bool          // in the shard's list, at place
	place    int
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

// extension is the lease of an attempt on its way to be extended. It has copies
// of what it needs, for the attempt may end meanwhile.
type extension struct {
	a         *attempt
	op        claim.Op // zero: no claim
	keepAlive func(context.Context) error
	busErr    error // of keepAlive
}

// collect ends what is over and returns what is due for extension.
func (k *keeper) collect() (due []*extension) {
	now := k.now()
	soon := now + k.lease/3/8
	for i := range k.shards {
		s := &k.shards[i]
		if s.wakeAt.Load() > int64(soon) {
			continue
		}
		s.mu.Lock()
		due = k.collectShard(s, now, due)
		s.unlock(k)
	}
	return due
}

// collectShard is collect for one shard. What is due within an eighth of its
// interval goes along, so that claims made at different moments leave together.
// The lock is held.
func (k *keeper) collectShard(s *keeperShard, now time.Duration, due []*extension) []*extension {
	wakeAt := never
	for i := 0; i < len(s.kept); {
		a := s.kept[i]
		l := &a.lease
		if cause := l.over(now); cause != nil {
			s.end(a, cause, false) // and another takes its place in the list
			continue
		}
		if !l.flying && l.next <= now+l.every/8 {
			l.flying = true
			e := &extension{a: a, keepAlive: l.keepAlive}
			if l.claimed {
				e.op = claim.Op{Kind: claim.OpExtend, Key: a.key, Grant: a.grant, TTL: k.lease}
			}
			due = append(due, e)
		}
		wakeAt = min(wakeAt, l.wakeAt())
		i++
	}
	s.wakeAt.Store(int64(wakeAt))
	return due
}

// send extends a batch of leases and notes the answers.
func (k *keeper) send(batch []*extension) {
	sent := k.now()
	// Less than the time until the next look, so that batches do not pile up on
	// a store that hangs.
	ctx, cancel := context.WithTimeout(context.Background(), k.lease/4)
	defer cancel()
	ops := make([]*claim.Op, 0, len(batch))
	for _, e := range batch {
		if e.op.Kind != 0 {
			ops = append(ops, &e.op)
		}
	}
	var buses sync.WaitGroup
	buses.Go(func() {
		for _, e := range batch {
			if e.keepAlive != nil {
				e.busErr = e.keepAlive(ctx)
			}
		}
	})
	if len(ops) > 0 {
		claim.Apply(ctx, k.store, ops)
	}
	buses.Wait()

	now := k.now()
	for _, e := range batch {
		s := k.shard(e.a)
		s.mu.Lock()
		e.a.lease.flying = false
		if e.a.lease.kept {
			k.extended(s, e, sent, now)
		}
		s.unlock(k)
	}
}

// extended notes the answers to e, which was sent at sent. The lock is held.
func (k *keeper) extended(s *keeperShard, e *extension, sent, now time.Duration) {
	l := &e.a.lease
	switch err := e.op.Err; {
	case e.op.Kind == 0:
		l.next = sent + l.every
	case err == nil:
		l.deadline = sent + k.lease - k.margin
		l.next = sent + l.every
	case errors.Is(err, claim.ErrLost):
		s.end(e.a, fmt.Errorf("%w: %w", ErrLeaseLost, err), true)
		return
	default:
		l.next = now + l.every/4
	}
	if e.busErr != nil {
		l.next = now + l.every/4
	} else if l.ackBy != 0 {
		l.ackBy = after(sent, l.ackWait)
	}
	s.lookAt(l.wakeAt())
}

// over returns why the lease cannot be kept any longer at now, or nil.
func (l *lease) over(now time.Duration) error {
	switch {
	case now >= l.deadline:
		return fmt.Errorf("%w: the store was not heard from in time", ErrLeaseLost)
	case l.runUntil != 0 && now >= l.runUntil:
		return ErrMaxRun
	case l.ackBy != 0 && now >= l.ackBy:
		return fmt.Errorf("%w: the bus's redelivery timer could not be extended", ErrLeaseLost)
	}
	return nil
}

// wakeAt returns when the keeper has to look at l next.
func (l *lease) wakeAt() time.Duration {
	t := l.deadline
	if !l.flying {
		t = min(t, l.next)
	}
	if l.runUntil != 0 {
		t = min(t, l.runUntil)
	}
	if l.ackBy != 0 {
		t = min(t, l.ackBy)
	}
	return t
}

// after returns now + d, or never if that is later.
func after(now, d time.Duration) time.Duration {
	if d > never-now {
		return never
	}
	return now + d
}
