//go:build unix

package natsbus_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/natstest"
)

// BenchmarkConsume compares ways of consuming a stream on file with confirmed
// acks and a handler that does nothing, the server in the same process. Compare
// lines of one run only.
//
//	go test -run xxx -bench Consume -benchtime 40000x -count 5 ./bus/natsbus
func BenchmarkConsume(b *testing.B) {
	s := natstest.Run(b)
	js := s.JetStream()
	for _, workers := range []int{8, 64} {
		b.Run(fmt.Sprintf("client double ack/workers=%d", workers), func(b *testing.B) {
			bench(b, s, js, func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
				return clientDoubleAck(ctx, cons, workers, done)
			})
		})
		b.Run(fmt.Sprintf("natsbus/workers=%d", workers), func(b *testing.B) {
			bench(b, s, js, func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
				c, err := natsbus.New(ctx, js, cons, &natsbus.Options{Workers: workers, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					return err
				}
				return c.Consume(ctx, func(context.Context, *bus.Message) error { done(1); return nil })
			})
		})
	}
	b.Run("natsbus/batch=100", func(b *testing.B) {
		bench(b, s, js, func(ctx context.Context, cons jetstream.Consumer, done func(int)) error {
			c, err := natsbus.New(ctx, js, cons, &natsbus.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			return c.ConsumeBatch(ctx, func(_ context.Context, batch []*bus.Message) []error {
				done(len(batch))
				return make([]error, len(batch))
			})
		})
	})
}

// bench stores b.N messages and takes the time until all are handled and acked.
func bench(b *testing.B, s *natstest.Server, js jetstream.JetStream, consume func(ctx context.Context, cons jetstream.Consumer, done func(int)) error) {
	cons := natstest.Consumer(b, js, jetstream.ConsumerConfig{})
	subject := natstest.Subject(cons.CachedInfo().Stream) + ".a"
	for i := range b.N {
		if _, err := js.PublishAsync(subject, []byte("a payload of some forty bytes, as many are")); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 { // a publisher that is too far ahead is refused
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var handled atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	err := consume(ctx, cons, func(n int) {
		if handled.Add(int64(n)) == int64(b.N) {
			cancel()
		}
	})
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	if err != nil {
		b.Fatal(err)
	}
	info, err := cons.Info(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if info.NumAckPending != 0 || info.NumRedelivered != 0 {
		b.Errorf("%d not acked, %d delivered again", info.NumAckPending, info.NumRedelivered)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpuTime returns what the process has used, client and server. It is steadier
// than the time that passes on a shared machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clientDoubleAck is what one writes by hand: the client's Consume, a pool of
// workers, DoubleAck.
func clientDoubleAck(ctx context.Context, cons jetstream.Consumer, workers int, done func(int)) error {
	work := make(chan jetstream.Msg)
	ended := make(chan struct{}, workers)
	for range workers {
		go func() {
			defer func() { ended <- struct{}{} }()
			for m := range work {
				if err := m.DoubleAck(context.WithoutCancel(ctx)); err == nil {
					done(1)
				}
			}
		}()
	}
	cc, err := cons.Consume(func(m jetstream.Msg) { work <- m })
	if err != nil {
		return err
	}
	<-ctx.Done()
	cc.Stop()
	<-cc.Closed()
	close(work)
	for range workers {
		<-ended
	}
	return nil
}
