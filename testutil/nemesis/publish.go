//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"time"
)

// published are the messages that the bus has taken.
type published struct {
	orders   int // numbered from 0; all of them were taken
	messages int // with copies
}

// publishAll publishes the orders and then, when every disturbance is over, some
// more, which show that workers have recovered.
func (w *World) publishAll(ctx context.Context) (p published, err error) {
	o, err := w.orders()
	if err != nil {
		return p, err
	}
	defer o.close()
	if err = w.publish(ctx, o, &p, w.Trial.Orders); err != nil {
		return p, err
	}
	if w.Trial.Hit == nil {
		return p, nil
	}
	if _, err = w.drainWith(ctx, o); err != nil {
		return p, err
	}
	if err = w.calm(); err != nil {
		return p, err
	}
	return p, w.publish(ctx, o, &p, tailOrders)
}

// publish publishes n orders and returns when the bus has confirmed all.
func (w *World) publish(ctx context.Context, o orders, p *published, n int) error {
	t := w.Trial
	var batch []string
	flush := func() error {
		err := w.send(ctx, o, batch)
		p.messages += len(batch)
		batch = batch[:0]
		return err
	}
	for end := p.orders + n; p.orders < end; p.orders++ {
		if t.Paced {
			if err := w.keepPace(ctx, p.orders, len(batch), flush); err != nil {
				return err
			}
		}
		batch = append(batch, OrderID(p.orders))
		if t.CopyEach > 0 && p.orders%t.CopyEach == 0 {
			for range t.Copies {
				batch = append(batch, OrderID(p.orders))
			}
		}
		if len(batch) >= 500 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// The trickle while a fault lasts.
const (
	trickle      = 10
	trickleEvery = 25 * time.Millisecond
)

// keepPace is called before an order is added to a batch that holds some. It
// lets the planned order before it strike, lets go of a trickle while the fault
// lasts, and keeps the next planned order until it is repaired.
func (w *World) keepPace(ctx context.Context, order, held int, flush func() error) error {
	plan := &w.Trial.Worker.Plan
	if plan.At(order-1) != "" {
		if err := flush(); err != nil {
			return err
		}
		held = 0
		// One that never strikes shows in the result.
		_ = await(ctx, 5*time.Second, "an order to strike", func() bool { return w.control.struck(OrderID(order - 1)) })
	}
	if !w.isDisturbed() {
		return nil
	}
	if plan.At(order) != "" {
		if err := flush(); err != nil {
			return err
		}
		return w.calm()
	}
	if held >= trickle {
		pause(ctx, trickleEvery)
		return flush()
	}
	return nil
}

// calm waits until all that was disturbed is repaired.
func (w *World) calm() error {
	return await(context.Background(), w.Trial.Limit, "the repair", func() bool { return !w.isDisturbed() })
}

func (w *World) isDisturbed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disturbed > 0
}

// send publishes a batch and repeats what was not confirmed: a copy more does no
// harm, it is what the library is for.
func (w *World) send(ctx context.Context, o orders, batch []string) error {
	for len(batch) > 0 {
		again, err := o.send(ctx, batch)
		if err != nil {
			return fmt.Errorf("nemesis: publish: %w", err)
		}
		if batch = again; len(again) > 0 && !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("nemesis: publish: %w", ctx.Err())
		}
	}
	return nil
}

// Publish publishes messages with these ids, as they are, beside the orders. It
// is for Trial.Before and Trial.Hit.
func (w *World) Publish(ids ...string) error {
	o, err := w.orders()
	if err != nil {
		return err
	}
	defer o.close()
	return w.send(w.ctx, o, ids)
}

// drain waits until every message is settled, and returns how many messages are left
// when that does not come true in time.
func (w *World) drain(ctx context.Context) (left int, err error) {
	o, err := w.orders()
	if err != nil {
		return -1, err
	}
	defer o.close()
	return w.drainWith(ctx, o)
}

// left returns how many messages are not settled.
func (w *World) left() (int, error) {
	o, err := w.orders()
	if err != nil {
		return -1, err
	}
	defer o.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	left, err := o.left(ctx)
	if err != nil {
		return -1, fmt.Errorf("nemesis: %w", err)
	}
	return left, nil
}

func (w *World) drainWith(ctx context.Context, o orders) (left int, err error) {
	left = -1
	err = await(ctx, w.Trial.Limit, "every message to be settled", func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		n, err := o.left(ctx)
		if err == nil {
			left = n
		}
		return err == nil && left == 0
	})
	return left, err
}

// deadOrders returns the orders of which the bus has a dead letter, and how many
// letters there are.
func (w *World) deadOrders(ctx context.Context) (map[string]bool, int, error) {
	o, err := w.orders()
	if err != nil {
		return nil, 0, err
	}
	defer o.close()
	ids, err := o.dead(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("nemesis: %w", err)
	}
	dead := map[string]bool{}
	for _, id := range ids {
		dead[id] = true
	}
	return dead, len(ids), nil
}
