package membus

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
)

// Bus is a queue of messages in memory. It is safe for concurrent use.
type Bus struct {
	opts Options
	name string // makes the positions of two buses differ

	mu      sync.Mutex // guards all below and the fields of every entry
	seq     uint64
	entries map[uint64]*entry // published and not settled for good
	ready   list.List         // of *entry, to be delivered, in order
	stats   Stats
	changed chan struct{} // closed at the next change; nil when nobody waits
}

// entry is a message until it is settled for good.
type entry struct {
	seq       uint64
	msg       bus.Message // as published
	delivered int
	elem      *list.Element // its place in ready; nil while timer runs
	timer     *time.Timer   // makes it ready again
	epoch     int           // tells a timer that fired too late from the current one
}

// Stats are counts since the Bus was made.
type Stats struct {
	// Published counts messages, Delivered deliveries.
	Published, Delivered int
	// Acked and Rejected count messages that are settled for good.
	Acked, Rejected int
	// Retried and Abandoned count deliveries that ended so.
	Retried, Abandoned int
	// Expired counts deliveries that were not settled within AckWait.
	Expired int
	// Dropped counts messages that were given up after MaxDeliver deliveries.
	Dropped int
	// Stale counts settlements of a message that was settled for good before.
	Stale int
}

// New returns an empty Bus. A nil o stands for the defaults. The error names the
// option that is wrong.
func New(o *Options) (*Bus, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Bus{
		opts:    opts,
		name:    fmt.Sprintf("membus-%016x", rand.Uint64()),
		entries: make(map[uint64]*entry),
	}, nil
}

// Publish takes m's ID, Subject, Header and Data, copied, and its Published time
// if it has one; the other fields are the Bus's to set. It waits while the Bus
// is full; the only error is then the cause of ctx's end, and m was not taken.
func (b *Bus) Publish(ctx context.Context, m bus.Message) error {
	if err := b.lockWhen(ctx, func() bool { return len(b.entries) < b.opts.Limit }); err != nil {
		return fmt.Errorf("membus: publish: %w", err)
	}
	defer b.mu.Unlock()
	b.seq++
	if m.Published.IsZero() {
		m.Published = time.Now()
	}
	e := &entry{seq: b.seq, msg: bus.Message{
		ID:        m.ID,
		Subject:   m.Subject,
		Header:    m.Header.Clone(),
		Data:      bytes.Clone(m.Data),
		Position:  fmt.Sprintf("%s:%d", b.name, b.seq),
		Log:       b.name,
		Sequence:  b.seq,
		Published: m.Published,
		AckWait:   b.opts.AckWait,
	}}
	b.entries[e.seq] = e
	b.stats.Published++
	b.enqueue(e)
	return nil
}

// Pending returns how many messages are not settled for good: to be delivered,
// being handled, or waiting for a retry.
func (b *Bus) Pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

// Drained waits until no message is pending. The only error is the cause of
// ctx's end.
func (b *Bus) Drained(ctx context.Context) error {
	if err := b.lockWhen(ctx, func() bool { return len(b.entries) == 0 }); err != nil {
		return fmt.Errorf("membus: drained: %w", err)
	}
	b.mu.Unlock()
	return nil
}

// Stats returns the counts so far.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Redelivery returns the Bus's settings as a deduplicator checks them.
func (b *Bus) Redelivery() bus.Redelivery {
	return bus.Redelivery{AckWait: b.opts.AckWait, MaxDeliver: b.opts.MaxDeliver}
}

// lockWhen waits until cond, which is called with b.mu held, and returns with
// b.mu held. On an error b.mu is not held.
func (b *Bus) lockWhen(ctx context.Context, cond func() bool) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.mu.Lock()
		if cond() {
			return nil
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// notify wakes everybody in lockWhen. b.mu is held.
func (b *Bus) notify() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// enqueue makes e ready now, whatever it was before, or drops it when it was
// delivered often enough. b.mu is held.
func (b *Bus) enqueue(e *entry) {
	b.unschedule(e)
	if b.opts.MaxDeliver > 0 && e.delivered >= b.opts.MaxDeliver {
		b.stats.Dropped++
		b.remove(e)
		return
	}
	e.elem = b.ready.PushBack(e)
	b.notify()
}

// enqueueAfter makes e ready after d, whatever it was before, and counts that in
// count. b.mu is held.
func (b *Bus) enqueueAfter(e *entry, d time.Duration, count *int) {
	b.unschedule(e)
	epoch := e.epoch
	e.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if e.epoch == epoch {
			*count++
			b.enqueue(e)
		}
	})
}

// unschedule takes e out of the queue and stops its timer. b.mu is held.
func (b *Bus) unschedule(e *entry) {
	e.epoch++
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if e.elem != nil {
		b.ready.Remove(e.elem)
		e.elem = nil
	}
}

// remove settles e for good. b.mu is held.
func (b *Bus) remove(e *entry) {
	b.unschedule(e)
	delete(b.entries, e.seq)
	b.notify()
}
