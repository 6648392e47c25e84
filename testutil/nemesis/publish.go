//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// published are the messages that the bus has taken.
type published struct {
	orders   int // numbered from 0; all of them were taken
	messages int // with copies
}

// publishAll publishes the orders and then, when every disturbance is over, some
// more, which show that workers have recovered.
func (w *World) publishAll(ctx context.Context) (p published, err error) {
	js, done, err := w.jetStream()
	if err != nil {
		return p, err
	}
	defer done()
	if err = w.publish(ctx, js, &p, w.Trial.Orders); err != nil {
		return p, err
	}
	if w.Trial.Hit == nil {
		return p, nil
	}
	if _, err = w.drainWith(ctx, js); err != nil {
		return p, err
	}
	if err = w.calm(); err != nil {
		return p, err
	}
	return p, w.publish(ctx, js, &p, tailOrders)
}

// publish publishes n orders and returns when the bus has confirmed all.
func (w *World) publish(ctx context.Context, js jetstream.JetStream, p *published, n int) error {
	t := w.Trial
	var batch []string
	flush := func() error {
		err := w.send(ctx, js, batch)
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
func (w *World) send(ctx context.Context, js jetstream.JetStream, batch []string) error {
	for len(batch) > 0 {
		futures := make([]jetstream.PubAckFuture, len(batch))
		for i, id := range batch {
			m := &nats.Msg{Subject: "orders", Header: nats.Header{HeaderOrder: {id}}, Data: []byte(id)}
			futures[i], _ = js.PublishMsgAsync(m) // a nil future is repeated
		}
		var again []string
		for i, f := range futures {
			if f == nil {
				again = append(again, batch[i])
				continue
			}
			select {
			case <-f.Ok():
			case <-f.Err():
				again = append(again, batch[i])
			case <-ctx.Done():
				return fmt.Errorf("nemesis: publish: %w", ctx.Err())
			}
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
	js, done, err := w.jetStream()
	if err != nil {
		return err
	}
	defer done()
	return w.send(w.ctx, js, ids)
}

// drain waits until the stream is empty, and returns how many messages are left
// when that does not come true in time.
func (w *World) drain(ctx context.Context) (left int, err error) {
	js, done, err := w.jetStream()
	if err != nil {
		return -1, err
	}
	defer done()
	return w.drainWith(ctx, js)
}

// left returns how many messages are in the stream.
func (w *World) left() (int, error) {
	js, done, err := w.jetStream()
	if err != nil {
		return -1, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, streamName)
	if err != nil {
		return -1, fmt.Errorf("nemesis: %w", err)
	}
	return int(s.CachedInfo().State.Msgs), nil
}

func (w *World) drainWith(ctx context.Context, js jetstream.JetStream) (left int, err error) {
	left = -1
	err = await(ctx, w.Trial.Limit, "the stream to be empty", func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s, err := js.Stream(ctx, streamName)
		if err == nil {
			left = int(s.CachedInfo().State.Msgs)
		}
		return err == nil && left == 0
	})
	return left, err
}

// deadOrders returns the orders of which the bus has a dead letter, and how many
// letters there are.
func (w *World) deadOrders(ctx context.Context) (map[string]bool, int, error) {
	js, done, err := w.jetStream()
	if err != nil {
		return nil, 0, err
	}
	defer done()
	s, err := js.Stream(ctx, "DEAD")
	if err != nil {
		return nil, 0, fmt.Errorf("nemesis: %w", err)
	}
	dead := map[string]bool{}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			return nil, 0, fmt.Errorf("nemesis: %w", err)
		}
		dead[m.Header.Get(HeaderOrder)] = true
	}
	return dead, int(state.Msgs), nil
}
