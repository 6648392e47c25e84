//go:build unix

package redisbus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/redistest"
)

// BenchmarkConsume compares ways of consuming a stream with confirmed acks and a
// handler that does nothing. Compare lines of one run only; the CPU time is the
// client's.
//
//	go test -run xxx -bench Consume -benchtime 40000x -count 5 ./bus/redisbus
func BenchmarkConsume(b *testing.B) {
	s := redistest.Start(b)
	client := s.Client()
	for _, workers := range []int{8, 64} {
		b.Run(fmt.Sprintf("client/workers=%d", workers), func(b *testing.B) {
			bench(b, rigOn(client, s.Prefix), func(ctx context.Context, r *rig, done func(int)) error {
				return clientLoop(ctx, r, workers, done)
			})
		})
		b.Run(fmt.Sprintf("redisbus/workers=%d", workers), func(b *testing.B) {
			bench(b, rigOn(client, s.Prefix), func(ctx context.Context, r *rig, done func(int)) error {
				return r.open(b, redisbus.Options{Workers: workers}).Consume(ctx, func(context.Context, *bus.Message) error {
					done(1)
					return nil
				})
			})
		})
	}
	b.Run("client/batch=100", func(b *testing.B) {
		bench(b, rigOn(client, s.Prefix), clientBatches)
	})
	b.Run("redisbus/batch=100", func(b *testing.B) {
		bench(b, rigOn(client, s.Prefix), func(ctx context.Context, r *rig, done func(int)) error {
			return r.open(b, redisbus.Options{}).ConsumeBatch(ctx, func(_ context.Context, batch []*bus.Message) []error {
				done(len(batch))
				return make([]error, len(batch))
			})
		})
	})
}

// bench adds b.N messages and takes the time until all are handled and acked.
func bench(b *testing.B, r *rig, consume func(ctx context.Context, r *rig, done func(int)) error) {
	r.open(b, redisbus.Options{}) // makes the group
	publisher, err := redisbus.NewPublisher(r.client, r.stream, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < b.N; i += 100 {
		batch := make([]bus.Message, min(100, b.N-i))
		for n := range batch {
			batch[n] = bus.Message{ID: fmt.Sprint("order-", i+n), Data: []byte("a payload of some forty bytes, as many are")}
		}
		if err := publisher.Publish(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var handled atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	err = consume(ctx, r, func(n int) {
		if handled.Add(int64(n)) == int64(b.N) {
			cancel()
		}
	})
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	if err != nil {
		b.Fatal(err)
	}
	if n := r.pending(b); n != 0 {
		b.Errorf("%d not acked", n)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpuTime returns what the process has used. It is steadier than the time that
// passes on a shared machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// read is one XREADGROUP as one writes it by hand.
func (r *rig) read(ctx context.Context, n int) ([]redis.XMessage, error) {
	res, err := r.client.XReadGroup(context.WithoutCancel(ctx), &redis.XReadGroupArgs{
		Group: r.group, Consumer: "me", Streams: []string{r.stream, ">"}, Count: int64(n), Block: 100 * time.Millisecond,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return res[0].Messages, nil
}

// clientLoop is what one writes by hand: a pool of workers, and an XACK each.
func clientLoop(ctx context.Context, r *rig, workers int, done func(int)) error {
	work := make(chan string)
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() {
			for id := range work {
				if r.client.XAck(context.WithoutCancel(ctx), r.stream, r.group, id).Err() == nil {
					done(1)
				}
			}
		})
	}
	defer pool.Wait()
	defer close(work)
	for ctx.Err() == nil {
		messages, err := r.read(ctx, workers)
		if err != nil {
			return err
		}
		for _, m := range messages {
			work <- m.ID
		}
	}
	return nil
}

// clientBatches is the same with an XACK for each batch.
func clientBatches(ctx context.Context, r *rig, done func(int)) error {
	for ctx.Err() == nil {
		messages, err := r.read(ctx, 100)
		if err != nil {
			return err
		}
		ids := make([]string, len(messages))
		for i, m := range messages {
			ids[i] = m.ID
		}
		if len(ids) > 0 {
			if err := r.client.XAck(context.WithoutCancel(ctx), r.stream, r.group, ids...).Err(); err != nil {
				return err
			}
		}
		done(len(ids))
	}
	return nil
}
