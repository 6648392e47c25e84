package main

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

// trouble is what goes wrong around the handler. Whether it does is a function of
// seed, order and attempt alone, so that a run can be repeated: an order that
// fails three times does so whoever is given it.
type trouble struct {
	seed   uint64
	fail   float64
	panics float64
	slow   float64
	vanish float64
	copies float64

	gone     sync.Map // ids whose worker has vanished: once is enough
	vanished atomic.Int64
	slowRuns atomic.Int64
}

func newTrouble(c *config) *trouble {
	return &trouble{seed: c.seed, fail: c.fail, panics: c.panics, slow: c.slow, vanish: c.vanish, copies: c.duplicates}
}

// roll returns a number from 0 up to 1.
func (t *trouble) roll(id, what string, n int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", id, what, n)
	return rand.New(rand.NewPCG(t.seed, h.Sum64())).Float64()
}

// again reports whether the publisher sends an order twice. It loses patience with
// all slow ones, so that copies come while their originals are at work.
func (t *trouble) again(id string) bool {
	return t.roll(id, "again", 0) < t.copies || t.copies > 0 && t.isSlow(id)
}

func (t *trouble) isSlow(id string) bool { return t.roll(id, "slow", 0) < t.slow }

var errProvider = errors.New("the payment provider does not answer")

// strike goes before the effect: it may fail, panic, or take its time.
func (t *trouble) strike(ctx context.Context, m *bus.Message) error {
	attempt := dedupe.AttemptFrom(ctx)
	if attempt == 0 { // without a claim
		attempt = m.Delivery
	}
	if t.roll(m.ID, "fail", attempt) < t.fail {
		return errProvider
	}
	if t.roll(m.ID, "panic", attempt) < t.panics {
		panic("nil map, most likely")
	}
	if !t.isSlow(m.ID) {
		return nil
	}
	t.slowRuns.Add(1)
	timer := time.NewTimer(slowRun)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done(): // the lease is lost, or the program ends
		return context.Cause(ctx)
	}
}

// vanishing returns h on workers of which some are gone before they can
// acknowledge. It goes around the Deduper: the work is done and recorded, and the
// bus does not hear of it.
func (t *trouble) vanishing(h bus.Handler) bus.Handler {
	return func(ctx context.Context, m *bus.Message) error {
		err := h(ctx, m)
		if err != nil || t.roll(m.ID, "vanish", 0) >= t.vanish {
			return err
		}
		if _, before := t.gone.LoadOrStore(m.ID, true); before {
			return nil
		}
		t.vanished.Add(1)
		return bus.Abandon(errors.New("the worker vanished before the ack"))
	}
}
