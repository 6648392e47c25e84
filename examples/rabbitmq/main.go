package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

const (
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
	url       string          // of the RabbitMQ
	rabbit    *amqpbus.Client // for all but consuming
	processes []*process
	published atomic.Int64
}

// work publishes orders and charges them, until everything is settled or ctx ends.
func (j *job) work(ctx context.Context) error {
	for n := range 2 {
		p := &process{job: j, number: n + 1}
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
	redis   redis.UniversalClient
	deduper *dedupe.Deduper

	mu     sync.Mutex
	client *amqpbus.Client
	orders *amqpbus.Consumer
	past   amqpbus.Stats // of consumers that lost their connection
}

// setUp puts a Deduper between the queue and the handler.
func (p *process) setUp(ctx context.Context) error {
	p.redis = p.server.Connect(ctx)
	if err := p.connect(ctx); err != nil {
		return err
	}
	deadLetters, err := amqpbus.DeadLetter(ctx, p.rabbit, "", p.deadQueue(), nil)
	if err != nil {
		return err
	}
	store, err := redisstore.New(ctx, p.redis, &redisstore.Options{Logger: p.logger}) // what remembers
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
		Redelivery:  p.orders.Redelivery(),
		ObserveOnly: p.Off,
		Logger:      p.logger,
	})
	return err
}

// connect makes the consumer, on a connection of its own.
func (p *process) connect(ctx context.Context) error {
	client, err := amqpbus.Dial(ctx, &amqpbus.ClientOptions{Name: p.Run, Logger: p.logger}, p.url)
	if err != nil {
		return err
	}
	orders, err := amqpbus.New(ctx, client, p.Run, &amqpbus.Options{ // what delivers
		RetryQueue: p.Run + "-retry", AbandonedAfter: time.Second, Workers: p.Workers,
		Rejected: amqpbus.Discard, // the Deduper has stored the dead letter
		Logger:   p.logger,
	})
	if err != nil {
		_ = client.Close()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.orders = client, orders
	return nil
}

// consume charges orders until ctx ends and what was begun is done. When it loses its
// connection it makes another one.
func (p *process) consume(ctx context.Context) error {
	handler := p.Trouble.Vanishing(p.deduper.Wrap(p.charge)) // around the Deduper: it is the worker that is gone
	for {
		err := p.orders.Consume(ctx, handler)
		if ctx.Err() != nil && (errors.Is(err, amqpbus.ErrClosed) || errors.Is(err, amqpbus.ErrUnsettled)) {
			return nil // a cut in the last moment: what was not acked is still in the queue
		}
		if !errors.Is(err, amqpbus.ErrClosed) {
			return err
		}
		p.keepStats()
		switch err := p.connect(ctx); {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// cut breaks the connection, whatever handlers are doing.
func (p *process) cut() {
	p.mu.Lock()
	client := p.client
	p.mu.Unlock()
	_ = client.Close()
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
	if p.client != nil {
		_ = p.client.Close()
	}
	_ = p.redis.Close()
}
