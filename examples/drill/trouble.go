package drill

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// Trouble is what goes wrong around handlers. Whether it does is a function of
// seed, order and attempt alone, so that a run can be repeated: an order that fails
// three times does so whoever is given it. Its methods are safe for concurrent use.
type Trouble struct {
	Seed       uint64
	Duplicates float64       // share of the orders that are sent again
	Fail       float64       // share of the handler's runs that fail
	Panic      float64       // share of the handler's runs that panic
	Slow       float64       // share of the orders that take SlowRun
	Vanish     float64       // share of the orders whose worker is gone, once, before the ack
	SlowRun    time.Duration // longer than the bus, or the sender, waits
	Work       time.Duration // how long other runs take at the most; 0 is no time

	runs, gone         sync.Map // by order: *atomic.Int64, and whether its worker has vanished
	slowRuns, vanished atomic.Int64
}

// Roll returns a number from 0 up to 1.
func (t *Trouble) Roll(id, what string, n int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", id, what, n)
	return rand.New(rand.NewPCG(t.Seed, h.Sum64())).Float64()
}

// Again reports whether an order is sent twice. That is so for all slow ones, so
// that copies come while their originals are at work.
func (t *Trouble) Again(id string) bool {
	return t.Roll(id, "again", 0) < t.Duplicates || t.Duplicates > 0 && t.isSlow(id)
}

func (t *Trouble) isSlow(id string) bool { return t.Roll(id, "slow", 0) < t.Slow }

// Strike goes before the effect: it may fail, panic, or take its time.
func (t *Trouble) Strike(ctx context.Context, id string) error {
	attempt := dedupe.AttemptFrom(ctx)
	if attempt == 0 { // without a claim
		runs, _ := t.runs.LoadOrStore(id, new(atomic.Int64))
		attempt = int(runs.(*atomic.Int64).Add(1))
	}
	if t.Roll(id, "fail", attempt) < t.Fail {
		return errors.New("the payment provider does not answer")
	}
	if t.Roll(id, "panic", attempt) < t.Panic {
		panic("nil map, most likely")
	}
	wait := time.Duration(t.Roll(id, "work", attempt) * float64(t.Work))
	if t.isSlow(id) {
		t.slowRuns.Add(1)
		wait = t.SlowRun
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done(): // the lease is lost, or the program ends
		return context.Cause(ctx)
	}
}

// Vanishing returns h on workers of which some are gone before they can ack. It
// goes around the Deduper: the work is done and recorded, and the bus does not hear
// of it.
func (t *Trouble) Vanishing(h bus.Handler) bus.Handler {
	return func(ctx context.Context, m *bus.Message) error {
		err := h(ctx, m)
		if err != nil || t.Roll(m.ID, "vanish", 0) >= t.Vanish {
			return err
		}
		if _, before := t.gone.LoadOrStore(m.ID, true); before { // once is enough
			return nil
		}
		t.vanished.Add(1)
		return bus.Abandon(errors.New("the worker vanished before the ack"))
	}
}
