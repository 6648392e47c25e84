package main

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/oncebus/once/bus"
)

// ledger is the proof: what was charged, written by the handler itself and by
// nothing else. It only ever grows, and knows nothing of deduplication.
type ledger struct {
	mu      sync.Mutex
	effects []effect
	orders  map[string]*fate
	handled int // orders with an effect
	doubled int // orders with more than one
	dead    int // orders given up, without an effect
}

// effect is one charge.
type effect struct {
	order   string
	process int
	fence   uint64
	attempt int
}

// fate is what became of an order.
type fate struct {
	effects int
	dead    bool
}

func newLedger() *ledger { return &ledger{orders: map[string]*fate{}} }

// fate returns that of the order, which it makes known. The lock is held.
func (l *ledger) fate(id string) *fate {
	f := l.orders[id]
	if f == nil {
		f = &fate{}
		l.orders[id] = f
	}
	return f
}

// accept notes that the stream has the order.
func (l *ledger) accept(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fate(id)
}

// charge notes an effect.
func (l *ledger) charge(e effect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.effects = append(l.effects, e)
	f := l.fate(e.order)
	f.effects++
	switch {
	case f.effects == 2:
		l.doubled++
	case f.effects == 1:
		l.handled++
		if f.dead {
			l.dead--
		}
	}
}

// giveUp notes that the order is in the dead-letter stream. It may be told more
// than once.
func (l *ledger) giveUp(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fate(id)
	if !f.dead && f.effects == 0 {
		l.dead++
	}
	f.dead = true
}

// watch returns sink, of which the ledger notes what it took.
func (l *ledger) watch(sink bus.DeadLetterSink) bus.DeadLetterSink {
	return func(ctx context.Context, d bus.DeadLetter) error {
		err := sink(ctx, d)
		if err == nil {
			l.giveUp(d.Message.ID)
		}
		return err
	}
}

// balance is the ledger in numbers: of charges, and of orders, which are charged,
// charged more than once, given up, or open.
type balance struct {
	charges, orders, handled, doubled, dead, open int
}

func (l *ledger) balance() balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	return balance{len(l.effects), len(l.orders), l.handled, l.doubled, l.dead, len(l.orders) - l.handled - l.dead}
}

// doubles returns the effects of orders that have more than one, by order.
func (l *ledger) doubles() []effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []effect
	for _, e := range l.effects {
		if l.orders[e.order].effects > 1 {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b effect) int { return strings.Compare(a.order, b.order) })
	return found
}

// open returns the orders of which nothing is known.
func (l *ledger) open() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for id, f := range l.orders {
		if f.effects == 0 && !f.dead {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}
