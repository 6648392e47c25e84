//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Trial is one experiment.
type Trial struct {
	// Fault is the row of the fault matrix, and Name tells trials of it apart.
	Fault, Name string
	// Points are the cells of the row that the trial covers. Defaults to those of
	// Worker.Plan.
	Points []Point

	// Orders is how many are published. Every CopyEach-th, 0 for none, is
	// published Copies times more.
	Orders, CopyEach, Copies int
	// Workers is how many processes there are. Defaults to 3.
	Workers int
	// Worker are the settings of all. What is zero is filled in: 8 handlers, a
	// lease and an ack wait of a second, a retention of a day.
	Worker Worker
	// Each changes the settings of one of them, numbered from 0.
	Each func(n int, w *Worker)

	// Backend keeps the records. Defaults to RedisClaims. What follows goes with that
	// alone, but for Kafka and Links.
	Backend Backend
	// StoreArgs are for redis-server, Clock gives it a clock of its own, and
	// Nodes, Replica make it a cluster or a primary with a replica. Spare adds a
	// node without slots to the cluster, and Sentinel three sentinels to the pair,
	// which workers ask for the primary.
	StoreArgs []string
	Clock     bool
	Nodes     int
	Spare     bool
	Replica   bool
	Sentinel  bool
	// Kafka makes the bus a Kafka broker, with a topic of six partitions and a group
	// of all workers. It goes neither with Links nor with faults at P8.
	Kafka bool
	// Links puts a Link in front of the store and of the bus for each worker.
	Links bool
	// LinkDelay holds every chunk on the way to and from the store up, by this and
	// up to as much more.
	LinkDelay time.Duration

	// Hit is called when an order triggers the fault; what it returns the worker
	// does to itself. It is called for one order at a time.
	Hit func(w *World, h Hit) Action
	// Paced makes the publisher wait for each fault to strike, and publish only a
	// trickle until what it did is repaired. Without it orders come as fast as the
	// bus takes them.
	Paced bool
	// Before is called before the first worker starts.
	Before func(w *World) error
	// Expect returns what is not as it should be, beside what every trial is
	// judged by.
	Expect func(w *World, r *Result) []string

	// Facts that excuse second executions.
	Forgets     bool // the store may lose records
	Steps       bool // the store's clock is stepped
	Unpersisted bool // records are not compared at the end
	// Limit is how long it may take. Defaults to three minutes.
	Limit time.Duration
}

// The settings that trials share unless they say otherwise.
const (
	DefaultLease = time.Second
	ackWait      = time.Second
	consumerName = "billing"
	streamName   = "ORDERS"
	deadName     = "dead"
	tailOrders   = 50 // published after the last disturbance is over
)

// Run carries out a trial. The error says that it could not be carried out; what
// the library did wrong is in Result.Failures.
func Run(ctx context.Context, t Trial) (*Result, error) {
	t.fill()
	redis.SetLogger(quiet{}) // servers are out of reach on purpose
	dir, err := os.MkdirTemp("", "once-nemesis-")
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
	if err := os.Mkdir(filepath.Join(dir, "sink"), 0o700); err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.Limit)
	defer cancel()
	w := &World{Trial: &t, Dir: dir, ctx: ctx}
	defer w.close()
	begun := time.Now()
	if err := w.setUp(ctx); err != nil {
		return nil, fmt.Errorf("%s %s: %w", t.Fault, t.Name, err)
	}
	r, err := w.carryOut(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", t.Fault, t.Name, err)
	}
	r.Elapsed = time.Since(begun)
	return r, nil
}

func (t *Trial) fill() {
	if t.Workers == 0 {
		t.Workers = 3
	}
	if t.Limit == 0 {
		t.Limit = 3 * time.Minute
	}
	if len(t.Points) == 0 {
		t.Points = t.Worker.Plan.Points
	}
	w := &t.Worker
	if w.Mode == "" {
		w.Mode = ModeOnce
	}
	if w.Handlers == 0 {
		w.Handlers = 8
	}
	if w.Lease == 0 {
		w.Lease = DefaultLease
	}
	if w.Retention == 0 {
		w.Retention = 24 * time.Hour
	}
	if w.Drain == 0 {
		w.Drain = 5 * time.Second
	}
	if w.Prefix == "" {
		w.Prefix = "once:"
	}
}

// carryOut publishes, consumes until nothing is left, and judges.
func (w *World) carryOut(ctx context.Context) (*Result, error) {
	ledger, err := OpenLedger(filepath.Join(w.Dir, "ledger")) // it is read even if no worker writes
	if err == nil {
		err = ledger.Close()
	}
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for _, s := range w.Slots {
		workers.Go(func() {
			if err := w.occupy(s, stop); err != nil {
				w.trouble(err)
			}
		})
	}
	r := &Result{Fault: w.Trial.Fault, Backend: w.Trial.Backend, Name: w.Trial.Name, Points: w.Trial.Points}
	published, err := w.publishAll(ctx)
	left := -1
	if err == nil {
		left, err = w.drain(ctx)
	}
	if errors.Is(err, errDeadline) || errors.Is(err, context.DeadlineExceeded) {
		r.fail("not finished in time: %v", err)
		left, err = w.left()
	}
	if calm := w.calm(); calm != nil {
		r.fail("a fault was not repaired: %v", calm)
	}
	close(stop)
	workers.Wait()
	w.after.Wait()
	if err != nil {
		return nil, err
	}
	return r, w.judge(r, published, left)
}
