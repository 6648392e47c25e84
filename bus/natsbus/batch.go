package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// batchPoll is how long one request of ConsumeBatch waits for a first message,
// and so how long an idle consumer takes to stop: a request that is given up
// half way could lose a message on its way until the ack wait has passed.
const batchPoll = time.Second

// ConsumeBatch is Consume for messages that are handled together: h is given what
// is there, at least one message and at most Options.BatchSize, and its errors
// settle them one by one. Options.Workers batches are handled at a time, by
// default one. All messages of a batch must be handled within the shortest ack
// wait among them, or be kept alive.
func (c *Consumer) ConsumeBatch(ctx context.Context, h bus.BatchHandler) error {
	if h == nil {
		return errNoHandler
	}
	group, hctx := bus.NewGroup(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var loops sync.WaitGroup
	var failed error
	var once sync.Once
	gone := make(chan struct{})
	run := func(ds []*delivery) { c.handleBatch(hctx, group, h, gone, ds) }
	for range max(1, c.opts.Workers) {
		loops.Go(func() {
			if err := c.batches(ctx, run); err != nil {
				once.Do(func() {
					failed = err
					close(gone)
					cancel(err)
				})
			}
		})
	}
	loops.Wait()
	return errors.Join(failed, group.Drain(c.opts.DrainTimeout))
}

// batches calls run with one batch after the other until ctx ends, and returns nil
// then, or until it cannot go on.
func (c *Consumer) batches(ctx context.Context, run func([]*delivery)) error {
	pause := retryPause
	for ctx.Err() == nil {
		ds, err := c.fetchBatch()
		if ctx.Err() != nil {
			for _, d := range ds {
				d.returnAtOnce()
			}
			return nil
		}
		if len(ds) > 0 {
			run(ds)
		}
		if err == nil {
			pause = retryPause
			continue
		}
		if err := c.look(ctx, err, pause); err != nil {
			return err
		}
		pause = min(2*pause, retryPauseMax)
	}
	return nil
}

// handleBatch calls h and returns when it has returned. The messages are settled
// side by side, each waiting for its confirmation.
func (c *Consumer) handleBatch(hctx context.Context, group *bus.Group, h bus.BatchHandler, gone <-chan struct{}, ds []*delivery) {
	batch := make([]*bus.Message, len(ds))
	for i, d := range ds {
		batch[i], d.gone = &d.msg, gone
	}
	c.counts.delivered.Add(int64(len(ds)))
	returned := make(chan struct{})
	group.Go(func() {
		defer close(returned)
		bus.ServeBatch(hctx, h, batch, func(i int, s bus.Settlement) {
			group.Go(func() { ds[i].settle(s) })
		})
	})
	<-returned
}

// fetchBatch returns what the server has, and waits for a first message if it has
// none. Messages and an error may come together.
func (c *Consumer) fetchBatch() ([]*delivery, error) {
	size := c.opts.BatchSize
	if n := c.config.MaxRequestBatch; n > 0 {
		size = min(size, n)
	}
	ds, err := c.collect(c.cons.FetchNoWait(size))
	if len(ds) > 0 || err != nil {
		return ds, err
	}
	wait := batchPoll
	if d := c.config.MaxRequestExpires; d > 0 {
		wait = min(wait, d)
	}
	ds, err = c.collect(c.cons.Fetch(1, jetstream.FetchMaxWait(wait)))
	if len(ds) == 0 || err != nil || size == 1 {
		return ds, err
	}
	more, err := c.collect(c.cons.FetchNoWait(size - 1))
	return append(ds, more...), err
}

// collect waits until a request of the client has ended.
func (c *Consumer) collect(b jetstream.MessageBatch, err error) ([]*delivery, error) {
	if err != nil {
		return nil, fmt.Errorf("natsbus: fetch: %w", err)
	}
	var ds []*delivery
	for m := range b.Messages() {
		d, err := c.handed(m)
		if err != nil {
			c.opts.Logger.Warn("natsbus: what arrived is no message of the consumer", "error", err)
			continue
		}
		ds = append(ds, d)
	}
	if err := b.Error(); err != nil {
		return ds, fmt.Errorf("natsbus: fetch: %w", err)
	}
	return ds, nil
}

// look waits for pause and asks the server whether the consumer is there. It
// returns an error when it is gone for good.
func (c *Consumer) look(ctx context.Context, cause error, pause time.Duration) error {
	if errors.Is(cause, jetstream.ErrConsumerDeleted) {
		return cause
	}
	_, err := c.info(ctx, pause)
	switch {
	case gone(err):
		return err
	case err != nil && ctx.Err() == nil:
		c.opts.Logger.Warn("natsbus: the server does not serve the consumer", "stream", c.stream, "consumer", c.name, "error", err)
	}
	return nil
}
