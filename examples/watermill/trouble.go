package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// trouble is what goes wrong around the handler. Whether it does is a function of
// seed, order and attempt alone, so that a run can be repeated.
type trouble struct {
	*config
	gone                sync.Map // ids whose worker has vanished: once is enough
	runs                sync.Map // *atomic.Int64 by id, for runs without a claim
	vanished, published atomic.Int64
}

// roll returns a number from 0 up to 1.
func (t *trouble) roll(id, what string, n int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", id, what, n)
	return rand.New(rand.NewPCG(t.seed, h.Sum64())).Float64()
}

// strike goes before the effect: it may fail or panic.
func (t *trouble) strike(msg *message.Message) error {
	attempt := dedupe.AttemptFrom(msg.Context())
	if attempt == 0 {
		n, _ := t.runs.LoadOrStore(msg.UUID, new(atomic.Int64))
		attempt = int(n.(*atomic.Int64).Add(1))
	}
	if t.roll(msg.UUID, "fail", attempt) < t.fail {
		return errors.New("the payment provider does not answer")
	}
	if t.roll(msg.UUID, "panic", attempt) < t.panics {
		panic("nil map, most likely")
	}
	return nil
}

// vanishing returns h on workers of which some are gone before they can ack: the
// work is done and recorded, and Watermill does not hear of it.
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
