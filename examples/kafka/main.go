package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

const (
	partitions  = 6
	lease       = 2 * time.Second // after a crash, others wait so long
	maxAttempts = 20              // of the handler, before an order is given up
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// job is one run of the program.
type job struct {
	*config
	logger    *slog.Logger
	ledger    *ledger.Ledger
	server    *servers.Redis
	kafka     *kgo.Client // for all but consuming
	processes []*process
	published int64
}

// work publishes orders and charges them, until everything is settled or ctx ends.
func (j *job) work(ctx context.Context) error {
	for n := range 2 {
		p := &process{job: j, number: n + 1, back: make(chan struct{}, 1)}
		defer p.close()
		if err := p.setUp(ctx); err != nil {
			return err
		}
		j.processes = append(j.processes, p)
	}
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	var consumers sync.WaitGroup
	failed := make(chan error, len(j.processes))
	for _, p := range j.processes {
		consumers.Go(func() { failed <- p.consume(consuming) })
	}
	err := j.publish(ctx)
	if err == nil {
		err = j.settled(ctx, failed)
	}
	stop()
	consumers.Wait()
	return err
}

// process is one of the processes that charge orders. They share nothing but the
// servers: what the one works on, the other learns from there.
type process struct {
	*job
	number  int
	client  redis.UniversalClient
	deduper *dedupe.Deduper
	leave   atomic.Pointer[context.CancelFunc] // the group
	back    chan struct{}                      // into the group
	revoked int64
}

// setUp makes what stands between the group and the handler.
func (p *process) setUp(ctx context.Context) error {
	p.client = p.server.Connect(ctx)
	deadLetters, err := kafkabus.DeadLetter(p.kafka, p.deadTopic(), nil)
	if err != nil {
		return err
	}
	store, err := redisstore.New(ctx, p.client, &redisstore.Options{Logger: p.logger}) // what remembers
	if err != nil {
		return err
	}
	p.deduper, err = dedupe.New(store, &dedupe.Options{
		Consumer:    "billing",
		Namespace:   p.Run, // of this run
		Lease:       lease,
		Retention:   time.Hour, // longer than any publisher tries again
		MaxAttempts: maxAttempts,
		Backoff:     bus.Exponential(10*time.Millisecond, 200*time.Millisecond),
		DeadLetter:  p.ledger.Watch(deadLetters),
		ObserveOnly: p.Off,
		Logger:      p.logger,
	})
	return err
}

// consume charges orders until ctx ends and what was begun is done. Told to leave,
// it leaves the group, and joins it again when it is told to.
func (p *process) consume(ctx context.Context) error {
	handler := p.Trouble.Vanishing(p.deduper.Wrap(p.charge)) // around the Deduper: it is the worker that is gone
	for ctx.Err() == nil {
		staying, leave := context.WithCancel(ctx)
		p.leave.Store(&leave)
		err := p.join(staying, handler)
		leave()
		if err != nil {
			return err
		}
		select {
		case <-p.back:
		case <-ctx.Done():
		}
	}
	return nil
}

// join is one stay in the group.
func (p *process) join(ctx context.Context, handler bus.Handler) error {
	orders, err := kafkabus.New(&kafkabus.Options{ // what delivers
		Order: kafkabus.ByKey, Concurrency: p.Workers, // the orders of a customer one after the other
		AbandonedAfter: 100 * time.Millisecond, CommitInterval: 50 * time.Millisecond, Logger: p.logger,
	}, append(p.clientOptions(),
		kgo.ConsumerGroup(p.Run), kgo.ConsumeTopics(p.Run), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	if err != nil {
		return err
	}
	defer orders.Close()
	err = orders.Consume(ctx, handler)
	p.revoked += orders.Stats().Revoked
	return err
}

// charge is the handler: no order may be charged twice.
func (p *process) charge(ctx context.Context, m *bus.Message) error {
	if err := p.Trouble.Strike(ctx, m.ID); err != nil {
		return err // the claim is given back, and the order comes again
	}
	p.ledger.Charge(ledger.Effect{
		Order: m.ID, Process: p.number, Fence: dedupe.FenceFrom(ctx), Attempt: dedupe.AttemptFrom(ctx),
	})
	return nil
}

// close ends what setUp began.
func (p *process) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if p.deduper != nil {
		_ = p.deduper.Close(ctx) // the handlers have returned
	}
	_ = p.client.Close()
}
