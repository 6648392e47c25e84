package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
)

const (
	ackWait = time.Second            // until JetStream delivers again what was not settled
	slowRun = ackWait * 5 / 4        // how long a slow handler takes
	window  = 100 * time.Millisecond // within which the stream itself drops copies

	maxAttempts = 20 // of the handler, before an order is given up
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return drill.Status(err)
	}
	return newJob(c).run(ctx, stdin, stdout)
}

// setUp makes a stream of orders, a durable consumer on it, a stream for orders
// that are given up, and two processes that charge orders. Their Dedupers share
// nothing but the store: what the one works on, the other learns from there.
func (j *job) setUp(ctx context.Context) error {
	js, _, err := j.servers.connect(ctx)
	if err != nil {
		return err
	}
	if _, err = j.servers.createStream(ctx, js, jetstream.StreamConfig{
		Name: j.Run, Subjects: []string{j.Run + ".orders"},
		Retention: jetstream.WorkQueuePolicy, Duplicates: window,
	}); err != nil {
		return err
	}
	if j.consumer, err = js.CreateConsumer(ctx, j.Run, jetstream.ConsumerConfig{
		Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, // without limit: the claims count the attempts
	}); err != nil {
		return err
	}
	if j.dead, err = j.servers.createStream(ctx, js, jetstream.StreamConfig{
		Name: j.Run + "-dead", Subjects: []string{j.Run + ".dead"},
	}); err != nil {
		return err
	}
	for n := range min(2, j.Workers) {
		p := &process{job: j, number: n + 1, workers: (j.Workers + 1 - n) / 2}
		if err := p.setUp(ctx); err != nil {
			return err
		}
		j.processes = append(j.processes, p)
	}
	j.publisher, err = newPublisher(js.Conn(), j.Run+".orders", j.Trouble.Again, j.ledger)
	return err
}

// process is one of the processes that charge orders.
type process struct {
	*job
	number  int
	workers int
	orders  *natsbus.Consumer
	deduper *dedupe.Deduper
}

// setUp puts a Deduper between the bus and the handler.
func (p *process) setUp(ctx context.Context) error {
	js, client, err := p.servers.connect(ctx)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, p.Run, "billing") // what delivers
	if err != nil {
		return err
	}
	p.orders, err = natsbus.New(ctx, js, consumer, &natsbus.Options{Workers: p.workers, Logger: p.logger})
	if err != nil {
		return err
	}
	deadLetters, err := natsbus.DeadLetter(ctx, js, p.Run+".dead", nil)
	if err != nil {
		return err
	}
	store, err := redisstore.New(ctx, client, &redisstore.Options{Logger: p.logger}) // what remembers
	if err != nil {
		return err
	}
	p.deduper, err = dedupe.New(store, &dedupe.Options{
		Consumer:    "billing",
		Namespace:   p.Run,           // of this run
		Lease:       2 * time.Second, // after a crash, others wait so long
		Retention:   time.Hour,       // longer than any publisher tries again
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
	handler = p.Trouble.Vanishing(handler) // around the Deduper: it is the worker that is gone
	handler = p.publisher.leaving(handler)
	return p.orders.Consume(ctx, handler)
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
