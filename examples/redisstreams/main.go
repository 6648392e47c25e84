package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

const (
	minIdle     = time.Second     // until an entry that nobody keeps is taken over
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
	client    redis.UniversalClient
	processes []*process
	published int64
}

// work adds orders to the stream and charges them, until everything is settled or
// ctx ends.
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
// server: what the one works on, the other learns from there.
type process struct {
	*job
	number  int
	client  redis.UniversalClient
	orders  *redisbus.Consumer
	deduper *dedupe.Deduper
}

// setUp puts a Deduper between the group and the handler.
func (p *process) setUp(ctx context.Context) error {
	p.client = p.server.Connect(ctx)
	var err error
	p.orders, err = redisbus.New(ctx, p.client, p.Run, "billing", &redisbus.Options{ // what delivers
		CreateFrom: "0", MinIdle: minIdle, Workers: p.Workers, Logger: p.logger,
	})
	if err != nil {
		return err
	}
	deadLetters, err := redisbus.DeadLetter(p.client, p.Run+"-dead", nil)
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
		Redelivery:  p.orders.Redelivery(),
		ObserveOnly: p.Off,
		Logger:      p.logger,
	})
	return err
}

// consume charges orders until ctx ends and what was begun is done.
func (p *process) consume(ctx context.Context) error {
	handler := p.deduper.Wrap(p.charge)
	return p.orders.Consume(ctx, p.Trouble.Vanishing(handler)) // around the Deduper: it is the worker that is gone
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
	if p.orders != nil {
		_ = p.orders.Close(ctx)
	}
	_ = p.client.Close()
}
