// Package ledger is the proof of the examples: what their handlers did, written by
// the handlers themselves and by nothing else.
package ledger

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/oncebus/once/bus"
)

// Ledger is what was charged. It only ever grows, and knows nothing of
// deduplication. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	effects []Effect
	orders  map[string]*fate
	handled int // orders with an effect
	doubled int // orders with more than one
	dead    int // orders given up, without an effect
}

// Effect is one charge.
type Effect struct {
	Order   string
	Process int
	Fence   uint64
	Attempt int
}

// fate is what became of an order.
type fate struct {
	effects int
	dead    bool
}

// New returns an empty Ledger.
func New() *Ledger { return &Ledger{orders: map[string]*fate{}} }

// fate returns that of the order, which it makes known. The lock is held.
func (l *Ledger) fate(id string) *fate {
	f := l.orders[id]
	if f == nil {
		f = &fate{}
		l.orders[id] = f
	}
	return f
}

// Accept notes that the order has to be charged.
func (l *Ledger) Accept(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fate(id)
}

// Charge notes an effect.
func (l *Ledger) Charge(e Effect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.effects = append(l.effects, e)
	f := l.fate(e.Order)
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

// GiveUp notes that the order was given up: it is no longer to be charged, and not
// lost. It may be told more than once.
func (l *Ledger) GiveUp(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fate(id)
	if !f.dead && f.effects == 0 {
		l.dead++
	}
	f.dead = true
}

// Watch returns sink, of which the ledger notes what it took.
func (l *Ledger) Watch(sink bus.DeadLetterSink) bus.DeadLetterSink {
	return func(ctx context.Context, d bus.DeadLetter) error {
		err := sink(ctx, d)
		if err == nil {
			l.GiveUp(d.Message.ID)
		}
		return err
	}
}

// Balance is a ledger in numbers: of charges, and of orders, which are charged,
// charged more than once, given up, or open.
type Balance struct {
	Charges, Orders, Handled, Doubled, Dead, Open int
}

// Balance returns the numbers so far.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Balance{len(l.effects), len(l.orders), l.handled, l.doubled, l.dead, len(l.orders) - l.handled - l.dead}
}

// Doubles returns the effects of orders that have more than one, by order.
func (l *Ledger) Doubles() []Effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Effect
	for _, e := range l.effects {
		if l.orders[e.Order].effects > 1 {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b Effect) int { return strings.Compare(a.Order, b.Order) })
	return found
}

// Open returns the orders of which nothing is known.
func (l *Ledger) Open() []string {
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
