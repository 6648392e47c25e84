package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/watermillbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
)

const (
	lease       = 10 * time.Second // after a crash, others wait so long
	maxAttempts = 20               // of the handler, before an order is given up
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// job is one run of the program.
type job struct {
	*drill.Flags
	logger    *slog.Logger
	ledger    *ledger.Ledger
	pubsub    *gochannel.GoChannel
	store     *memstore.Store // what remembers
	processes []*process
	published int64
	onTheWay  chan struct{} // has an element for each delivery that is not acked
}

// work publishes orders, which two routers charge, and returns when everything is
// acked.
func (j *job) work(ctx context.Context) error {
	defer j.pubsub.Close()
	for n := range 2 {
		p := &process{job: j, number: n + 1}
		defer p.close()
		if err := p.start(); err != nil {
			return err
		}
		j.processes = append(j.processes, p)
	}
	return j.publish(ctx)
}

// process is one of the processes that charge orders. What the one works on, the
// other learns from the store.
type process struct {
	*job
	number  int
	deduper *dedupe.Deduper
	router  *message.Router
	ended   chan error
}

// start puts a Deduper between the router and the handler.
func (p *process) start() error {
	deadLetters, err := watermillbus.DeadLetter(p.pubsub, "orders.dead")
	if err != nil {
		return err
	}
	p.deduper, err = dedupe.New(p.store, &dedupe.Options{
		Consumer:    "billing",
		Lease:       lease,
		Retention:   time.Hour, // longer than any publisher tries again
		MaxAttempts: maxAttempts,
		Backoff:     bus.Exponential(5*time.Millisecond, 50*time.Millisecond),
		DeadLetter:  p.ledger.Watch(deadLetters),
		ObserveOnly: p.Off,
		Logger:      p.logger,
	})
	if err != nil {
		return err
	}
	p.router, err = message.NewRouter(message.RouterConfig{}, watermill.NewSlogLogger(p.logger))
	if err != nil {
		return err
	}
	once := func(h bus.Handler) bus.Handler {
		return p.Trouble.Vanishing(p.deduper.Wrap(h)) // around the Deduper: it is the worker that is gone
	}
	p.router.AddMiddleware(p.counted, watermillbus.Middleware(once, &watermillbus.Options{
		Rejected: watermillbus.Discard, // the Deduper has stored it
		MaxHold:  50 * time.Millisecond,
		Pause:    5 * time.Millisecond,
		Logger:   p.logger,
	}))
	p.router.AddConsumerHandler("billing", "orders", p.pubsub, p.charge)
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.router.Run(context.Background()) }() // until close
	select {
	case <-p.router.Running():
		return nil
	case err := <-p.ended:
		p.ended <- nil // for close
		return errors.Join(errors.New("the router did not start"), err)
	}
}

// charge is the handler: no order may be charged twice.
func (p *process) charge(msg *message.Message) error {
	if err := p.Trouble.Strike(msg.Context(), msg.UUID); err != nil {
		return err // the claim is given back, and the order comes again
	}
	p.ledger.Charge(ledger.Effect{
		Order: msg.UUID, Process: p.number, Fence: dedupe.FenceFrom(msg.Context()), Attempt: dedupe.AttemptFrom(msg.Context()),
	})
	return nil
}

// close ends what start began.
func (p *process) close() {
	if p.ended != nil {
		_ = p.router.Close() // nothing is in progress
		<-p.ended
	}
	if p.deduper != nil {
		_ = p.deduper.Close(context.Background()) // the handlers have returned
	}
}
