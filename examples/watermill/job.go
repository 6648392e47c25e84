package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/examples/ledger"
)

const (
	patience = time.Minute // for how long nothing may move before the run is given up
	window   = 512         // how many deliveries may be on their way
)

// config is what the flags say.
type config struct {
	messages                         int
	duplicates, fail, panics, vanish float64
	seed                             uint64
	json, off, verbose               bool
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{}
	fs := flag.NewFlagSet("watermill", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&c.messages, "messages", 5000, "how many `orders`")
	fs.Float64Var(&c.duplicates, "duplicates", 0.3, "`share` of the orders that are sent again")
	fs.Float64Var(&c.fail, "fail", 0.05, "`share` of the handler's runs that fail")
	fs.Float64Var(&c.panics, "panic", 0.01, "`share` of the handler's runs that panic")
	fs.Float64Var(&c.vanish, "vanish", 0.005, "`share` of the orders whose worker is gone, once, before the ack")
	fs.Uint64Var(&c.seed, "seed", 1, "what all chance is derived from")
	fs.BoolVar(&c.json, "json", false, "print the summary as JSON on the last line of the standard output")
	fs.BoolVar(&c.off, "off", false, "switch the deduplication off, to see what the proof says then")
	fs.BoolVar(&c.verbose, "v", false, "log what the libraries have to say")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(fs.NArg() == 0, "%q is no flag", fs.Args())
	check(c.messages >= 0, "-messages is %d, want 0 or more", c.messages)
	for name, value := range map[string]float64{"duplicates": c.duplicates, "fail": c.fail, "panic": c.panics, "vanish": c.vanish} {
		check(value >= 0 && value <= 1, "-%s is %v, want 0 to 1", name, value)
	}
	err := errors.Join(errs...)
	if err != nil {
		fmt.Fprintf(stderr, "watermill: %v\n", err)
	}
	return c, err
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	j := &job{config: c, ledger: ledger.New(), logger: slog.New(slog.DiscardHandler), trouble: trouble{config: c},
		onTheWay: make(chan struct{}, window)}
	if c.verbose {
		j.logger = slog.New(slog.NewTextHandler(stderr, nil))
	}
	j.pubsub = gochannel.NewGoChannel(gochannel.Config{}, watermill.NewSlogLogger(j.logger))
	if j.store, err = memstore.New(nil); err != nil {
		fmt.Fprintf(stderr, "watermill: %v\n", err)
		return 2
	}
	begun := time.Now()
	if err = j.work(ctx); err != nil {
		fmt.Fprintf(stderr, "watermill: %v\n", err)
	}
	s := j.sumUp(time.Since(begun))
	s.print(j, stdout, stderr)
	switch {
	case s.Lost != 0 || s.DoubleEffects != 0:
		return 1
	case err != nil:
		return 2
	}
	return 0
}

// publish sends the orders, and some of them again up to a hundred orders later, as a
// publisher does that missed an answer. It returns when all are acked.
func (j *job) publish(ctx context.Context) error {
	var again []string
	for n := 0; n < j.messages && ctx.Err() == nil; n++ {
		id := fmt.Sprintf("order-%06d", n+1)
		j.ledger.Accept(id)
		if j.trouble.roll(id, "again", 0) < j.duplicates {
			again = append(again, id)
		}
		batch := []string{id}
		if n%100 == 99 || n == j.messages-1 {
			batch, again = append(batch, again...), nil
		}
		for _, id := range batch {
			if err := j.send(id); err != nil {
				return err
			}
		}
	}
	return j.begin(cap(j.onTheWay)) // when there is room for all, none is left
}

// send publishes one message to both routers.
func (j *job) send(id string) error {
	if err := j.begin(2); err != nil {
		return err
	}
	j.trouble.published.Add(1)
	return j.pubsub.Publish("orders", message.NewMessage(id, []byte(id)))
}

// begin waits until n deliveries more may be on their way.
func (j *job) begin(n int) error {
	stalled := time.NewTimer(patience)
	defer stalled.Stop()
	for range n {
		select {
		case j.onTheWay <- struct{}{}:
			stalled.Reset(patience)
		case <-stalled.C:
			return fmt.Errorf("nothing moves any more: nothing for %v", patience)
		}
	}
	return nil
}

// counted is the outermost middleware: it sees what the router is about to ack.
func (j *job) counted(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := h(msg)
		if err == nil {
			<-j.onTheWay
		}
		return produced, err
	}
}
