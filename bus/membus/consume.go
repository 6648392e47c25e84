package membus

import (
	"context"
	"errors"

	"github.com/oncebus/once/bus"
)

// Consume hands messages to h until ctx ends and the handlers that run then have
// returned and their messages are settled. What was not handed over stays in the
// Bus for other consumers.
//
// Handlers get a context with ctx's values that outlives ctx: it ends
// DrainTimeout later, with the cause bus.ErrDrainTimeout. Consume returns nil
// after a clean stop, an error that wraps bus.ErrDrainTimeout if it had to leave
// handlers behind, and an error that names the option if o is wrong. A nil o
// stands for the defaults.
func (b *Bus) Consume(ctx context.Context, h bus.Handler, o *ConsumeOptions) error {
	if h == nil {
		return errors.New("membus: handler is nil")
	}
	opts, err := o.withDefaults()
	if err != nil {
		return err
	}
	opts.BatchSize = 1
	return b.consume(ctx, opts, func(hctx context.Context, ds []*delivery) {
		bus.Serve(hctx, h, ds[0].message(), ds[0].settle)
	})
}

// ConsumeBatch is Consume for messages that are handled together: h is given
// what is ready, at least one message and at most o.BatchSize. Workers counts
// batches.
func (b *Bus) ConsumeBatch(ctx context.Context, h bus.BatchHandler, o *ConsumeOptions) error {
	if h == nil {
		return errors.New("membus: handler is nil")
	}
	opts, err := o.withDefaults()
	if err != nil {
		return err
	}
	return b.consume(ctx, opts, func(hctx context.Context, ds []*delivery) {
		batch := make([]*bus.Message, len(ds))
		for i, d := range ds {
			batch[i] = d.message()
		}
		bus.ServeBatch(hctx, h, batch, func(i int, s bus.Settlement) { ds[i].settle(s) })
	})
}

// consume calls serve, in goroutines of their own, with up to BatchSize
// deliveries at a time.
func (b *Bus) consume(ctx context.Context, opts ConsumeOptions, serve func(context.Context, []*delivery)) error {
	group, hctx := bus.NewGroup(ctx)
	free := make(chan struct{}, opts.Workers)
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
		}
		ds := b.take(ctx, opts.BatchSize)
		if ds == nil {
			return group.Drain(opts.DrainTimeout)
		}
		group.Go(func() {
			defer func() { <-free }()
			serve(hctx, ds)
		})
	}
}

// take waits for messages and takes up to n; nil when ctx has ended.
func (b *Bus) take(ctx context.Context, n int) []*delivery {
	if err := b.lockWhen(ctx, func() bool { return b.ready.Len() > 0 }); err != nil {
		return nil
	}
	defer b.mu.Unlock()
	ds := make([]*delivery, min(n, b.ready.Len()))
	for i := range ds {
		ds[i] = b.deliver()
	}
	return ds
}
