//go:build linux

package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// Mode is what stands between a worker's bus and its handler.
type Mode string

// The modes. All but ModeOnce and ModeNewer are negative controls.
const (
	// ModeOnce is the library.
	ModeOnce Mode = "once"
	// ModeNewer is the library as a later version might be: its done records have
	// a layout that this version does not know.
	ModeNewer Mode = "newer"
	// ModeSetNX marks the message before the run, with SET NX, and takes a mark
	// for done. It loses messages.
	ModeSetNX Mode = "setnx"
	// ModeOff has no deduplication. It runs copies again.
	ModeOff Mode = "off"
	// ModeApart is the inbox with an effect outside of its transaction.
	ModeApart Mode = "apart"
)

// Worker are the settings of a worker process.
type Worker struct {
	Mode     Mode
	Plan     Plan
	Handlers int
	Dir      string // of the trial: ledger, sink, control, statistics

	Bus, Stream, Durable, Dead string
	Kafka                      bool // the bus is a Kafka broker, and Stream a topic

	Backend      Backend
	Stores       []string // addresses; more than one is a cluster
	Sentinels    []string // addresses; they know the store's
	User, Secret string
	PoolSize     int // 0: the client's default
	Prefix       string
	WaitReplicas int

	Lease     time.Duration
	Retention time.Duration
	Drain     time.Duration // of the consumer when it is told to stop

	// Slow is how long the handlers of the planned orders take. They heed their
	// context.
	Slow time.Duration
	// FailFirst makes the first run of planned orders fail before the effect.
	FailFirst bool
	// Result is the size of a result that planned orders set.
	Result int
	// Fenced makes every effect go to the Sink too.
	Fenced bool
}

// Report is what a worker says about itself when it ends in peace.
type Report struct {
	Dedupe    dedupe.Stats
	Calls     int64         // to the store, with a deadline
	Late      int64         // of these, returned more than LateBy after it
	Overshoot time.Duration // the most that a call outlived its deadline
	Leaked    int           // goroutines left after everything was closed
	Corrupt   int64         // operations that met a record which cannot be read
	Unknown   int64         // and that had no answer
	Down      int64         // and that certainly did not happen
	Steps     int64         // of the store's clock, as the store reports them
}

type worker struct {
	Worker
	logger *slog.Logger
	ledger *Ledger
	sink   *Sink
	asker  *asker
	traps  traps
	store  *redisstore.Store // nil without the library, and on another backend
	runs   atomic.Int64

	calls, late, overshoot        atomic.Int64
	corrupt, unknown, unavailable atomic.Int64
}

// workerMain is the process.
func workerMain(text string) (err error) {
	before := runtime.NumGoroutine()
	w := &worker{}
	if err := json.Unmarshal([]byte(text), &w.Worker); err != nil {
		return fmt.Errorf("nemesis: worker: %w", err)
	}
	w.traps.w = w
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if w.ledger, err = OpenLedger(filepath.Join(w.Dir, "ledger")); err != nil {
		return err
	}
	w.sink = NewSink(filepath.Join(w.Dir, "sink"))
	if w.asker, err = dialControl(filepath.Join(w.Dir, "control")); err != nil {
		return err
	}
	redis.SetLogger(quiet{})
	report, err := w.run(ctx)
	stop()
	err = errors.Join(err, w.asker.close())
	// Goroutines take a moment to see that what they wait for is closed. One
	// more than before is that of the signals, which Go keeps.
	settled := await(context.Background(), 3*time.Second, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+1 })
	if settled != nil {
		report.Leaked = runtime.NumGoroutine() - before - 1
		stacks := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", stacks[:runtime.Stack(stacks, true)])
	}
	text2, _ := json.Marshal(report) // numbers
	return errors.Join(err, os.WriteFile(filepath.Join(w.Dir, "report-"+strconv.Itoa(os.Getpid())), text2, 0o600))
}

type quiet struct{}

// Printf is called by go-redis.
func (quiet) Printf(context.Context, string, ...any) {}

// run consumes until ctx ends.
func (w *worker) run(ctx context.Context) (report Report, err error) {
	w.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	messages, err := w.source(ctx)
	if err != nil {
		return report, unlessTold(ctx, err)
	}
	defer messages.close()
	handler, finish, err := w.handler(ctx, messages)
	if err != nil {
		return report, unlessTold(ctx, err)
	}
	err = messages.consume(ctx, w.delivered(handler))
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	report.Dedupe, err = finish(closing, err)
	report.Calls, report.Late = w.calls.Load(), w.late.Load()
	report.Overshoot = time.Duration(w.overshoot.Load())
	report.Corrupt, report.Unknown, report.Down = w.corrupt.Load(), w.unknown.Load(), w.unavailable.Load()
	if w.store != nil {
		report.Steps = w.store.Stats().ClockSteps
	}
	return report, err
}

// unlessTold returns err, or nil when the worker was told to end while it waited
// for what it needs.
func unlessTold(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// persistently calls f until it succeeds: a worker may start while what it needs
// is down. Settings that are refused stay refused.
func persistently[T any](ctx context.Context, f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if err == nil || errors.Is(err, claim.ErrInvalid) || errors.Is(err, natsbus.ErrRefused) || !pause(ctx, 50*time.Millisecond) {
			return v, err
		}
	}
}

// connect returns a client of the store whose connections faults can strike.
func (w *worker) connect() redis.UniversalClient {
	if len(w.Stores) > 1 {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: w.Stores, ContextTimeoutEnabled: true, Dialer: w.traps.dialer})
	}
	if len(w.Sentinels) > 0 {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: masterName, SentinelAddrs: w.Sentinels, ContextTimeoutEnabled: true, Dialer: w.traps.dialer,
			DialTimeout: w.Lease / 2, ReadTimeout: w.Lease / 2, WriteTimeout: w.Lease / 2,
		})
	}
	return redis.NewClient(&redis.Options{
		Addr: w.Stores[0], ContextTimeoutEnabled: true, Dialer: w.traps.dialer,
		PoolSize: w.PoolSize, Username: w.User, Password: w.Secret,
		DialTimeout: w.Lease / 2, ReadTimeout: w.Lease / 2, WriteTimeout: w.Lease / 2,
	})
}

// finish ends what is before the handler. It is told how consuming ended, and
// returns that with what it met itself.
type finish func(context.Context, error) (dedupe.Stats, error)

// handler returns the handler behind what the backend and the mode put before it.
func (w *worker) handler(ctx context.Context, messages *source) (bus.Handler, finish, error) {
	switch w.Backend {
	case NATSClaims:
		return w.onNATS(ctx, messages)
	case PostgresInbox:
		return w.inbox(ctx)
	}
	return w.onRedis(ctx, messages)
}

// onRedis claims in Redis.
func (w *worker) onRedis(ctx context.Context, messages *source) (bus.Handler, finish, error) {
	client := w.connect()
	end := func(_ context.Context, err error) (dedupe.Stats, error) {
		return dedupe.Stats{}, errors.Join(err, client.Close())
	}
	switch w.Mode {
	case ModeOff:
		return w.effect, end, nil
	case ModeSetNX:
		return w.setNX(client), end, nil
	}
	store, err := persistently(ctx, func() (*redisstore.Store, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return redisstore.New(ctx, client, &redisstore.Options{Prefix: w.Prefix, WaitReplicas: w.WaitReplicas, Logger: w.logger})
	})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	w.store = store
	watch := &watched{Store: store, w: w, match: func(d claim.Digest) trap { return trap{match: append([]byte(w.Prefix), d[:]...)} }}
	if w.Mode == ModeNewer {
		watch.Store = applied((&newer{Store: store, w: w, client: client}).apply)
	}
	return w.dedupe(watch, messages, client.Close)
}

// dedupe returns the handler behind a Deduper. closeClient is called when that is
// closed.
func (w *worker) dedupe(store *watched, messages *source, closeClient func() error) (bus.Handler, finish, error) {
	var fingerprint func(*bus.Message) claim.Fingerprint
	if w.Fenced {
		// A done record with a fingerprint keeps its fence, which is compared with
		// that in the sink.
		fingerprint = dedupe.PayloadFingerprint
	}
	d, err := dedupe.New(applied(store.apply), &dedupe.Options{
		Consumer: w.Durable, Key: dedupe.ByHeader(HeaderOrder), Fingerprint: fingerprint,
		Lease: w.Lease, Retention: w.Retention, CommitTimeout: 5 * w.Lease, CircuitCooldown: w.Lease / 10,
		Backoff:    bus.Exponential(10*time.Millisecond, 200*time.Millisecond),
		DeadLetter: messages.sink, Redelivery: messages.redelivery, Logger: w.logger,
		Observer: &dedupe.Observer{
			LeaseEnded: func(error) { w.write(Line{Kind: lineCancel, Order: "-"}) },
			Circuit: func(open bool) {
				w.write(Line{Kind: lineCircuit, Order: "-", Note: map[bool]string{true: "open", false: "closed"}[open]})
			},
		},
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeClient())
	}
	return d.Wrap(w.effect), func(ctx context.Context, err error) (dedupe.Stats, error) {
		err = errors.Join(err, d.Close(ctx))
		return d.Stats(), errors.Join(err, closeClient())
	}, nil
}
