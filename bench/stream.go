//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/natstest"
)

// streamWorkers is how many handlers of a consumer run at a time.
const streamWorkers = 256

// streamWay is a way of consuming a stream until ctx ends. It calls done with the
// number of messages that were handled.
type streamWay struct {
	name    string
	consume func(ctx context.Context, cons jetstream.Consumer, done func(int)) error
}

// stream measures consumers of a JetStream, with a server in this process and the
// stream in files, whose acks are confirmed.
func (b *bench) stream() error {
	srv, stop, err := natstest.Start()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer stop()
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	d, err := b.redisDeduper()
	if err != nil {
		return err
	}
	one := func(done func(int)) bus.Handler {
		return func(context.Context, *bus.Message) error { done(1); return nil }
	}
	many := func(done func(int)) bus.BatchHandler {
		return func(_ context.Context, batch []*bus.Message) []error {
			done(len(batch))
			return make([]error, len(batch))
		}
	}
	options := &natsbus.Options{Workers: streamWorkers, Logger: quiet()}
	// Batches are handled side by side, so that one is claimed while another is
	// confirmed.
	inBatches := &natsbus.Options{Workers: ceilingConns, BatchSize: batchSize, Logger: quiet()}
	ways := []streamWay{
		{"plain double ack", doubleAck},
		{"natsbus", func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
			return natsConsume(ctx, js, cons, options, one(done))
		}},
		{"natsbus and Once", func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
			return natsConsume(ctx, js, cons, options, d.Wrap(one(done)))
		}},
		{"natsbus in batches", func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
			return natsConsumeBatch(ctx, js, cons, inBatches, many(done))
		}},
		{"natsbus in batches, and Once", func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
			return natsConsumeBatch(ctx, js, cons, inBatches, d.WrapBatch(many(done)))
		}},
	}
	all := make([]series, len(ways))
	for range b.set.turns {
		for i, w := range ways {
			s, err := b.consume(js, w)
			if err != nil {
				return fmt.Errorf("bench: stream: %s: %w", w.name, err)
			}
			all[i] = append(all[i], s)
		}
	}
	for _, s := range all {
		b.add("stream", s)
	}
	how := fmt.Sprintf("stream in files, %%d workers, median of %d turns of %s messages", b.set.turns, grouped(int64(b.streamMessages())))
	b.found(streamRatio, ratio(all[2], all[0], rate), how+"; against natsbus without Once %.2f", streamWorkers, ratio(all[2], all[1], rate))
	b.found(streamBatch, ratio(all[4], all[3], rate), how, ceilingConns)
	return nil
}

func (b *bench) streamMessages() int { return 30_000 / b.set.shrink }

// consume stores messages and measures until all of them are handled and acked.
func (b *bench) consume(js jetstream.JetStream, w streamWay) (sample, error) {
	if err := b.redis.flush(); err != nil {
		return sample{}, err
	}
	name := "S" + strconv.FormatUint(b.ids.take(1), 10)
	stream, err := js.CreateStream(b.ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
	if err != nil {
		return sample{}, err
	}
	defer js.DeleteStream(context.WithoutCancel(b.ctx), name)
	n := b.streamMessages()
	if err := b.publish(js, name+".a", n); err != nil {
		return sample{}, err
	}
	cons, err := stream.CreateConsumer(b.ctx, jetstream.ConsumerConfig{Durable: "bench"})
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	var handled atomic.Int64
	all, stopped := make(chan struct{}), make(chan error, 1)
	from, err := look(b.redis, handled.Load)
	if err != nil {
		return sample{}, err
	}
	go func() {
		stopped <- w.consume(ctx, cons, func(k int) {
			if handled.Add(int64(k)) == int64(n) {
				close(all)
			}
		})
	}()
	select {
	case <-all:
	case err := <-stopped:
		return sample{}, fmt.Errorf("%d of %d messages handled: %w", handled.Load(), n, errors.Join(err, ctx.Err()))
	}
	// To stop takes up to a second, which is not the way's cost; the acks are.
	to, err := b.acked(ctx, cons, handled.Load)
	cancel()
	s := between(from, to)
	s.Way, s.Callers = w.name, streamWorkers
	return s, errors.Join(err, <-stopped)
}

// acked looks when the server has all acks.
func (b *bench) acked(ctx context.Context, cons jetstream.Consumer, count func() int64) (window, error) {
	for {
		info, err := cons.Info(ctx)
		if err != nil {
			return window{}, err
		}
		if info.NumAckPending == 0 && info.NumPending == 0 {
			return look(b.redis, count)
		}
		pause(ctx, time.Millisecond)
	}
}

func (b *bench) publish(js jetstream.JetStream, subject string, n int) error {
	payload := []byte("a payload of some forty bytes, as many are")
	for i := range n {
		m := &nats.Msg{Subject: subject, Data: payload, Header: nats.Header{jetstream.MsgIDHeader: {b.ids.at(b.ids.take(1))}}}
		if _, err := js.PublishMsgAsync(m); err != nil {
			return err
		}
		if i%1000 == 999 || i == n-1 { // a publisher that is too far ahead is refused
			<-js.PublishAsyncComplete()
		}
	}
	return nil
}

func natsConsume(ctx context.Context, js jetstream.JetStream, cons jetstream.Consumer, o *natsbus.Options, h bus.Handler) error {
	c, err := natsbus.New(ctx, js, cons, o)
	if err != nil {
		return err
	}
	return c.Consume(ctx, h)
}

func natsConsumeBatch(ctx context.Context, js jetstream.JetStream, cons jetstream.Consumer, o *natsbus.Options, h bus.BatchHandler) error {
	c, err := natsbus.New(ctx, js, cons, o)
	if err != nil {
		return err
	}
	return c.ConsumeBatch(ctx, h)
}

// doubleAck is what one writes with the client alone: its Consume, a pool of
// workers, and DoubleAck.
func doubleAck(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
	work := make(chan jetstream.Msg)
	var workers sync.WaitGroup
	for range streamWorkers {
		workers.Go(func() {
			for m := range work {
				if m.DoubleAck(context.WithoutCancel(ctx)) == nil {
					done(1)
				}
			}
		})
	}
	running, err := cons.Consume(func(m jetstream.Msg) { work <- m })
	if err == nil {
		<-ctx.Done()
		running.Stop()
		<-running.Closed()
	}
	close(work)
	workers.Wait()
	return err
}
