package claim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Combiner carries single operations of concurrent callers to a Batcher
// together. While operations are out at the store, those that come next gather,
// and leave in one flight; an operation that finds nobody else leaves at once,
// in its caller's goroutine and with its caller's context, so that a lone caller
// loses nothing. Nobody waits for company: an operation waits only while others
// are out, and not longer than a millisecond unless MaxFlights of them are.
//
// It is for stores: one whose trips cost more than its operations makes its
// methods those of a Combiner over its Apply. A Combiner is safe for concurrent
// use. It has no goroutine while nothing is out, and needs no closing.
//
// A method returns when its own context ends, whatever the flight does: with
// ErrUnavailable if the operation had not left, and then never does, and with
// ErrUnknown if it had. The others in the flight do not notice. The flight's own
// context lasts as long as somebody waits for it; it carries no caller's values.
//
// Two operations on one key may be out at once, in two flights or in one, as
// with any two concurrent calls. A method that has returned ErrUnknown leaves
// its operation under way, and one that follows may overtake it; the rules of
// the package documentation hold at any delay.
//
// When the Batcher panics, so do all methods whose operations were in its hands.
type Combiner struct {
	batcher    Batcher
	maxBatch   int
	maxFlights int
	maxWaiting int

	mu      sync.Mutex
	gates   []*flight // that gather, the first to leave first
	waiting int       // operations in them
	flights int       // that are out
	aloft   int       // operations in those
}

// CombinerOptions are the settings of a Combiner. The zero value, like nil, is
// ready to use.
type CombinerOptions struct {
	// MaxBatch is how many operations leave together, from 1 to 1,000; an Extend
	// may come on top. 1 turns combining off: every operation leaves at once and
	// by itself, and MaxFlights and MaxWaiting do not count. Defaults to 256.
	MaxBatch int
	// MaxFlights is how many flights may be out at a time, from 1 to 64. Fewer are
	// while the store is near: the next one leaves with at least a third of the
	// operations that are out, or after a millisecond. Defaults to 8.
	MaxFlights int
	// MaxWaiting is how many operations may wait for a flight; one more is
	// ErrUnavailable, unless it is an Extend. At least 1. Defaults to 65,536.
	MaxWaiting int
}

const (
	defaultMaxBatch   = 256
	defaultMaxFlights = 8
	defaultMaxWaiting = 1 << 16

	maxMaxBatch   = 1000
	maxMaxFlights = 64
)

// A flight may leave when the operations that wait are one to share of those
// that are out, or when its first has waited for patience. The share makes
// three or four flights of any load, and lets the first few operations of a
// light one leave at once. Patience is what a far store takes for a trip: there
// more flights are worth their price, and one that hangs holds up nobody.
const (
	share    = 3
	patience = time.Millisecond
)

var errTooManyWait = errors.New("too many operations wait for the store: it does not keep up with its callers")

var (
	_ Store   = (*Combiner)(nil)
	_ Batcher = (*Combiner)(nil)
)

// NewCombiner returns a Combiner over b. It fails with ErrInvalid for an option
// out of its range.
func NewCombiner(b Batcher, o *CombinerOptions) (*Combiner, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("claim: %w: the Batcher is nil", ErrInvalid)
	}
	return &Combiner{batcher: b, maxBatch: opts.MaxBatch, maxFlights: opts.MaxFlights, maxWaiting: opts.MaxWaiting}, nil
}

// withDefaults returns a copy with the defaults filled in.
func (o *CombinerOptions) withDefaults() CombinerOptions {
	var c CombinerOptions
	if o != nil {
		c = *o
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = defaultMaxBatch
	}
	if c.MaxFlights == 0 {
		c.MaxFlights = defaultMaxFlights
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = defaultMaxWaiting
	}
	return c
}

func (o *CombinerOptions) validate() error {
	switch {
	case o.MaxBatch < 1 || o.MaxBatch > maxMaxBatch:
		return fmt.Errorf("claim: %w: CombinerOptions.MaxBatch is %d, want 1 to %d", ErrInvalid, o.MaxBatch, maxMaxBatch)
	case o.MaxFlights < 1 || o.MaxFlights > maxMaxFlights:
		return fmt.Errorf("claim: %w: CombinerOptions.MaxFlights is %d, want 1 to %d", ErrInvalid, o.MaxFlights, maxMaxFlights)
	case o.MaxWaiting < 1:
		return fmt.Errorf("claim: %w: CombinerOptions.MaxWaiting is %d, want at least 1", ErrInvalid, o.MaxWaiting)
	}
	return nil
}

// TryClaim implements Store.
func (c *Combiner) TryClaim(ctx context.Context, key Key, req Request) (Verdict, error) {
	op := Op{Kind: OpTryClaim, Key: key, Request: req}
	c.do(ctx, &op)
	return op.Verdict, op.Err
}

// Extend implements Store. It waits at the head of the queue, however long that
// is: a lease that is kept does not depend on the load.
func (c *Combiner) Extend(ctx context.Context, key Key, grant Grant, ttl time.Duration) error {
	op := Op{Kind: OpExtend, Key: key, Grant: grant, TTL: ttl}
	c.do(ctx, &op)
	return op.Err
}

// MarkDone implements Store.
func (c *Combiner) MarkDone(ctx context.Context, key Key, grant Grant, done Completion) (recovered bool, err error) {
	op := Op{Kind: OpMarkDone, Key: key, Grant: grant, Completion: done}
	c.do(ctx, &op)
	return op.Recovered, op.Err
}

// MarkDead implements Store.
func (c *Combiner) MarkDead(ctx context.Context, key Key, grant Grant, reason string) error {
	op := Op{Kind: OpMarkDead, Key: key, Grant: grant, Reason: reason}
	c.do(ctx, &op)
	return op.Err
}

// Release implements Store.
func (c *Combiner) Release(ctx context.Context, key Key, grant Grant, delay time.Duration) error {
	op := Op{Kind: OpRelease, Key: key, Grant: grant, TTL: delay}
	c.do(ctx, &op)
	return op.Err
}

// Forget is that of an Inspector.
func (c *Combiner) Forget(ctx context.Context, key Key, seen Record) error {
	op := Op{Kind: OpForget, Key: key, Grant: Grant{Fence: seen.Fence}, Seen: seen.State}
	c.do(ctx, &op)
	return op.Err
}

// Revive is that of an Inspector.
func (c *Combiner) Revive(ctx context.Context, key Key, seen Record) error {
	op := Op{Kind: OpRevive, Key: key, Grant: Grant{Fence: seen.Fence}, Seen: seen.State}
	c.do(ctx, &op)
	return op.Err
}

// Apply implements Batcher. A batch is a flight already: it goes to the Batcher
// at once and waits for nothing.
func (c *Combiner) Apply(ctx context.Context, ops []*Op) { c.batcher.Apply(ctx, ops) }

// do carries out op, which stays the caller's: alone, or in a flight with
// others.
func (c *Combiner) do(ctx context.Context, op *Op) {
	if c.maxBatch == 1 {
		c.alone(ctx, op)
		return
	}
	c.mu.Lock()
	if len(c.gates) == 0 && c.roomFor(1) {
		c.flights++
		c.aloft++
		c.mu.Unlock()
		defer c.home(1)
		c.alone(ctx, op)
		return
	}
	if err := c.refusal(ctx, op.Kind); err != nil {
		c.mu.Unlock()
		op.Fail(err)
		return
	}
	f, seat := c.board(ctx, op)
	c.launch()
	c.watch(f)
	c.mu.Unlock()
	c.await(ctx, f, seat, op)
}

// alone carries out op in the caller's goroutine.
func (c *Combiner) alone(ctx context.Context, op *Op) {
	f := newFlight()
	f.seats = append(f.seats, *op)
	f.ops = append(f.ops, &f.seats[0])
	c.batcher.Apply(ctx, f.ops)
	f.answer(0, op)
	f.release()
}

// roomFor reports whether count operations may leave now. The lock is held.
func (c *Combiner) roomFor(count int) bool {
	return c.flights < c.maxFlights && count*share >= c.aloft
}

// refusal returns why an operation may not wait, or nil. The lock is held.
func (c *Combiner) refusal(ctx context.Context, kind OpKind) error {
	if err := ctx.Err(); err != nil {
		return Unavailable(err)
	}
	if c.waiting >= c.maxWaiting && kind != OpExtend {
		return Unavailable(errTooManyWait)
	}
	return nil
}

// board seats op in a flight that gathers. The lock is held.
func (c *Combiner) board(ctx context.Context, op *Op) (f *flight, seat int) {
	f = c.gate(op.Kind)
	if f == nil {
		f = newFlight()
		f.landed = make(chan struct{})
		c.gates = append(c.gates, f)
	}
	c.waiting++
	return f, f.board(ctx, op)
}

// gate returns the flight that an operation waits for, or nil when it must be
// one that begins. The lock is held.
func (c *Combiner) gate(kind OpKind) *flight {
	if kind == OpExtend {
		for _, f := range c.gates {
			if f.riders < 2*c.maxBatch {
				return f
			}
		}
		return nil
	}
	if n := len(c.gates); n > 0 && c.gates[n-1].riders < c.maxBatch {
		return c.gates[n-1]
	}
	return nil
}

// launch sends off the flights that may leave. The lock is held.
func (c *Combiner) launch() {
	for len(c.gates) > 0 && c.flights < c.maxFlights {
		f := c.gates[0]
		if !f.overdue && f.riders < c.maxBatch && !c.roomFor(c.waiting) {
			return
		}
		c.gates = slices.Delete(c.gates, 0, 1)
		f.depart()
		c.flights++
		c.aloft += len(f.ops)
		c.waiting -= len(f.ops)
		go c.fly(f)
	}
}

// watch sees to it that f does not wait for longer than patience while there is
// room for another flight. The lock is held.
func (c *Combiner) watch(f *flight) {
	if f.gathers() && f.timer == nil {
		f.timer = time.AfterFunc(patience, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			// A timer that could not be stopped may find another flight under f.
			if slices.Contains(c.gates, f) {
				f.overdue = true
				c.launch()
			}
		})
	}
}

// home notes that a flight with count operations is over.
func (c *Combiner) home(count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flights--
	c.aloft -= count
	c.launch()
}

// await waits for the answer to op, which has a seat in f.
func (c *Combiner) await(ctx context.Context, f *flight, seat int, op *Op) {
	select {
	case <-f.landed:
	case <-ctx.Done():
		if c.leave(ctx, f, seat, op) {
			return
		}
	}
	f.answer(seat, op)
	f.release()
}

// leave gives up op, unless f has landed.
func (c *Combiner) leave(ctx context.Context, f *flight, seat int, op *Op) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-f.landed:
		return false
	default:
	}
	defer f.release()
	if !f.gathers() {
		op.Fail(Unknown(ctx.Err()))
		f.abandon()
		return true
	}
	op.Fail(Unavailable(ctx.Err()))
	c.waiting--
	if f.vacate(seat); f.riders == 0 {
		c.gates = slices.DeleteFunc(c.gates, func(g *flight) bool { return g == f })
		f.timer.Stop()
		f.release()
	}
	return true
}
