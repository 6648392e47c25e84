package main

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

const (
	lease    = 10 * time.Second       // after a crash, others wait so long
	patience = 400 * time.Millisecond // of the sender, for an answer
	slowRun  = 2 * patience           // how long a slow handler takes
	maxTries = 20                     // of the sender, before it gives an event up

	secret = "whsec_b25jZSBhbmQgbm8gbW9yZQ=="
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return drill.Status(err)
	}
	return newJob(c).run(ctx, stdout)
}

// job is one run of the program.
type job struct {
	*config
	ledger    *ledger.Ledger
	logger    *slog.Logger
	store     *servers.Redis
	receivers []*receiver
	sender    *sender
}

// setUp starts two receivers, which share nothing but the store: what the one works
// on, the other learns from there.
func (j *job) setUp(ctx context.Context) error {
	for n := range 2 {
		r := &receiver{job: j, number: n + 1, client: j.store.Connect(ctx)}
		j.receivers = append(j.receivers, r)
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// receiver is a process that receives the webhook and charges orders.
type receiver struct {
	*job
	number  int
	client  redis.UniversalClient
	deduper *dedupe.Deduper
	server  *http.Server
	url     string
}

// start puts the middleware between the server and the handler.
func (r *receiver) start(ctx context.Context) error {
	store, err := redisstore.New(ctx, r.client, &redisstore.Options{Logger: r.logger}) // what remembers
	if err != nil {
		return err
	}
	r.deduper, err = dedupe.New(store, &dedupe.Options{
		Consumer:    "billing",
		Namespace:   r.Run,          // of this run
		Retention:   72 * time.Hour, // longer than any sender tries again
		Lease:       lease,
		LocalWait:   dedupe.Off, // the sender is told at once that its copy comes too early
		ObserveOnly: r.Off,
		Logger:      r.logger,
	})
	if err != nil {
		return err
	}
	hook, err := dedupehttp.NewWebhook(r.deduper, dedupehttp.StandardWebhooks{Secrets: []string{secret}},
		&dedupehttp.WebhookOptions{Detach: true}) // the sender has less patience than the slow handlers
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/orders", hook(http.HandlerFunc(r.charge)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.url = "http://" + listener.Addr().String() + "/hooks/orders"
	r.server = &http.Server{Handler: mux, ErrorLog: log.New(logWriter{r.logger}, "", 0)}
	go func() { _ = r.server.Serve(listener) }() // until it is shut down
	return nil
}

// charge is the handler: no order may be charged twice.
func (r *receiver) charge(w http.ResponseWriter, q *http.Request) {
	id := q.Header.Get("Webhook-Id")
	if err := r.Trouble.Strike(q.Context(), id); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway) // the id is given back, and the sender comes again
		return
	}
	r.ledger.Charge(ledger.Effect{
		Order: id, Process: r.number, Fence: dedupe.FenceFrom(q.Context()), Attempt: dedupe.AttemptFrom(q.Context()),
	})
}

// stop waits for the handlers that run.
func (r *receiver) stop(ctx context.Context) error {
	var errs []error
	if r.server != nil {
		errs = append(errs, r.server.Shutdown(ctx))
	}
	if r.deduper != nil {
		errs = append(errs, r.deduper.Close(ctx))
	}
	return errors.Join(append(errs, r.client.Close())...)
}
