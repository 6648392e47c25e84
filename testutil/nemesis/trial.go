//go:build linux

package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

	// StoreArgs are for redis-server, Clock gives it a clock of its own, and
	// Nodes, Replica make it a cluster or a primary with a replica.
	StoreArgs []string
	Clock     bool
	Nodes     int
	Replica   bool
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
	tailOrders   = 50 // published after the last disturbance is over
)

// World is what a trial runs in.
type World struct {
	Trial *Trial
	Dir   string
	Bus   *Bus
	Store *Redis   // the only server, or the primary
	Nodes []*Redis // of a cluster
	// Standby is the replica, which reaches the primary by ReplicaLink.
	Standby     *Redis
	ReplicaLink *Link
	Clock       *Clock
	Slots       []*Slot

	ctx     context.Context
	control *control
	hitting sync.Mutex
	after   sync.WaitGroup // what is repaired in the background

	mu        sync.Mutex // guards the following
	disturbed int
	owned     []*Redis // to be closed
	hits      []Hit
	exits     []exit
	stops     []span
	losses    []int64 // when the store may have lost records
	steps     []int64
	troubles  []error
}

// Slot is the place of a worker: the process in it is replaced when it ends.
type Slot struct {
	N         int
	StoreLink *Link // nil unless Trial.Links
	BusLink   *Link

	config Worker
	proc   *Process // guarded by World.mu
}

type exit struct {
	pid    int
	at     int64
	killed bool
}

type span struct {
	pid      int
	from, to int64
}

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

func (w *World) setUp(ctx context.Context) (err error) {
	t := w.Trial
	if w.Bus, err = StartBus(filepath.Join(w.Dir, "bus")); err != nil {
		return err
	}
	if err = w.startStore(); err != nil {
		return err
	}
	if w.control, err = startControl(filepath.Join(w.Dir, "control"), w.hit); err != nil {
		return err
	}
	js, done, err := w.jetStream()
	if err != nil {
		return err
	}
	defer done()
	if _, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"orders"}, Retention: jetstream.WorkQueuePolicy,
	}); err != nil {
		return err
	}
	if _, err = js.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 10_000,
	}); err != nil {
		return err
	}
	if _, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead"}}); err != nil {
		return err
	}
	if t.Before != nil {
		if err = t.Before(w); err != nil {
			return err
		}
	}
	for n := range t.Workers {
		if err = w.addSlot(n); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) startStore() (err error) {
	t := w.Trial
	dir := filepath.Join(w.Dir, "store")
	if t.Nodes > 0 {
		if w.Nodes, err = StartCluster(dir, t.Nodes); err == nil {
			w.Store, w.owned = w.Nodes[0], w.Nodes
		}
		return err
	}
	if t.Clock {
		if w.Clock, err = NewClock(w.Dir); err != nil {
			return err
		}
	}
	args := t.StoreArgs
	if t.Replica {
		args = append([]string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}, args...)
	}
	if w.Store, err = StartRedis(dir, w.Clock, args...); err != nil {
		return err
	}
	w.owned = append(w.owned, w.Store)
	if !t.Replica {
		return nil
	}
	if w.ReplicaLink, err = NewLink(w.Store.Addr); err != nil {
		return err
	}
	if w.Standby, err = w.Store.StartReplica(filepath.Join(w.Dir, "standby"), w.ReplicaLink.Addr()); err != nil {
		return err
	}
	w.owned = append(w.owned, w.Standby)
	return nil
}

// FailOver kills the primary, makes the replica the store, and leads the workers
// to it. What the primary had not sent is lost.
func (w *World) FailOver() error {
	if w.Store == w.Standby {
		return nil // there is no other replica
	}
	w.Store.Kill()
	w.Lost()
	if err := w.Standby.Do("replicaof", "no", "one"); err != nil {
		return err
	}
	for _, s := range w.Slots {
		s.StoreLink.Retarget(w.Standby.Addr)
	}
	w.Store = w.Standby
	return nil
}

func (w *World) addSlot(n int) (err error) {
	s := &Slot{N: n, config: w.Trial.Worker}
	w.Slots = append(w.Slots, s)
	c := &s.config
	c.Dir, c.Stream, c.Durable, c.Dead = w.Dir, streamName, consumerName, "dead"
	c.Bus, c.Stores = w.Bus.Addr, []string{w.Store.Addr}
	if w.Nodes != nil {
		c.Stores = nil
		for _, node := range w.Nodes {
			c.Stores = append(c.Stores, node.Addr)
		}
	}
	if w.Trial.Links {
		if s.StoreLink, err = NewLink(w.Store.Addr); err != nil {
			return err
		}
		if s.BusLink, err = NewLink(w.Bus.Addr); err != nil {
			return err
		}
		s.StoreLink.Delay(w.Trial.LinkDelay, w.Trial.LinkDelay)
		c.Bus, c.Stores = s.BusLink.Addr(), []string{s.StoreLink.Addr()}
	}
	if w.Trial.Each != nil {
		w.Trial.Each(n, c)
	}
	return nil
}

// jetStream returns the trial's own way to the bus.
func (w *World) jetStream() (jetstream.JetStream, func(), error) {
	nc, err := nats.Connect(w.Bus.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		return nil, nil, fmt.Errorf("nemesis: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000), jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("nemesis: %w", err)
	}
	return js, nc.Close, nil
}

// operator returns a client of the store that is no worker's.
func (w *World) operator() redis.UniversalClient {
	if w.Nodes != nil {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{w.Store.Addr}, ContextTimeoutEnabled: true})
	}
	return redis.NewClient(&redis.Options{Addr: w.Store.Addr, ContextTimeoutEnabled: true})
}

// hit is asked by a worker what an order at a point does.
func (w *World) hit(h Hit) Action {
	w.hitting.Lock()
	defer w.hitting.Unlock()
	w.mu.Lock()
	busy := w.disturbed > 0
	w.mu.Unlock()
	if busy || w.Trial.Hit == nil {
		return GoOn
	}
	a := w.Trial.Hit(w, h)
	h.At = time.Now().UnixNano()
	w.mu.Lock()
	w.hits = append(w.hits, h)
	w.mu.Unlock()
	if a == Stop {
		w.continueLater(h.Pid)
	}
	return a
}

// continueLater lets a worker that stops itself go on after so many leases that
// others have had the message.
func (w *World) continueLater(pid int) {
	w.Disturb(func(ctx context.Context) error {
		err := await(ctx, startLimit, "a worker to stop", func() bool { return stopped(pid) })
		from := time.Now().UnixNano()
		pause(ctx, w.Trial.Worker.Lease*9/2) // between two redeliveries
		s := w.slotOf(pid)
		if s == nil || err != nil {
			return errors.Join(err, errors.New("nemesis: a worker that was stopped is gone"))
		}
		w.mu.Lock()
		w.stops = append(w.stops, span{pid, from, time.Now().UnixNano()})
		proc := s.proc
		w.mu.Unlock()
		proc.Signal(contSignal)
		return nil
	})
}

// Disturb calls repair in the background. Until it returns no other order
// triggers anything, and the trial does not end before it.
func (w *World) Disturb(repair func(ctx context.Context) error) {
	w.mu.Lock()
	w.disturbed++
	w.mu.Unlock()
	w.after.Go(func() {
		err := repair(w.ctx)
		w.mu.Lock()
		w.disturbed--
		w.mu.Unlock()
		w.trouble(err)
	})
}

// Pass waits for d, and less if the trial ends.
func (w *World) Pass(d time.Duration) { pause(w.ctx, d) }

// Lost notes that the store may have lost records now.
func (w *World) Lost() { w.stamp(&w.losses) }

// Stepped notes that the store's clock was stepped now.
func (w *World) Stepped() { w.stamp(&w.steps) }

func (w *World) stamp(list *[]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, time.Now().UnixNano())
}

func (w *World) trouble(err error) {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.troubles = append(w.troubles, err)
	}
}

// slotOf returns the slot in which pid runs, or nil.
func (w *World) slotOf(pid int) *Slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.Slots {
		if s.proc != nil && s.proc.Pid() == pid {
			return s
		}
	}
	return nil
}

// SlotOf returns the slot of the worker that was hit, or nil when it has ended.
func (w *World) SlotOf(h Hit) *Slot { return w.slotOf(h.Pid) }

// occupy keeps a worker in the slot until stop is closed, and then ends it.
func (w *World) occupy(s *Slot, stop <-chan struct{}) error {
	for {
		proc, err := w.startWorker(s)
		if err != nil {
			return err
		}
		select {
		case <-proc.gone:
			at := time.Now().UnixNano()
			w.mu.Lock()
			w.exits = append(w.exits, exit{proc.Pid(), at, proc.killed()})
			w.mu.Unlock()
			if !proc.killed() && !proc.cmd.ProcessState.Success() {
				return w.lastWords(s)
			}
			select {
			case <-stop:
				return nil
			default:
			}
		case <-stop:
			return w.retire(proc, s)
		}
	}
}

func (w *World) startWorker(s *Slot) (*Process, error) {
	config, err := json.Marshal(s.config)
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	cmd, err := reexec("worker", string(config), w.log(s))
	if err != nil {
		return nil, err
	}
	defer closeLog(cmd)
	proc, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	s.proc = proc
	w.mu.Unlock()
	return proc, nil
}

func (w *World) log(s *Slot) string { return filepath.Join(w.Dir, fmt.Sprintf("worker-%d.log", s.N)) }

// retire asks a worker to end, and makes it.
func (w *World) retire(proc *Process, s *Slot) error {
	proc.Signal(termSignal)
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-proc.gone:
		if !proc.killed() && !proc.cmd.ProcessState.Success() {
			return w.lastWords(s)
		}
		return nil
	case <-timer.C:
		proc.Kill()
		return fmt.Errorf("nemesis: worker %d did not end within 20s of SIGTERM", s.N)
	}
}

// lastWords returns what a worker wrote before it ended.
func (w *World) lastWords(s *Slot) error {
	text, _ := os.ReadFile(w.log(s))
	const most = 600
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return fmt.Errorf("nemesis: worker %d failed: %s", s.N, text)
}

// carryOut publishes, consumes until nothing is left, and judges.
func (w *World) carryOut(ctx context.Context) (*Result, error) {
	if _, err := OpenLedger(filepath.Join(w.Dir, "ledger")); err != nil {
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
	r := &Result{Fault: w.Trial.Fault, Name: w.Trial.Name, Points: w.Trial.Points}
	published, err := w.publishAll(ctx)
	left := -1
	if err == nil {
		left, err = w.drain(ctx)
	}
	if errors.Is(err, errDeadline) || errors.Is(err, context.DeadlineExceeded) {
		r.fail("not finished in time: %v", err)
		err = nil
	}
	w.after.Wait()
	close(stop)
	workers.Wait()
	if err != nil {
		return nil, err
	}
	return r, w.judge(r, published, left)
}

// close ends everything that still runs.
func (w *World) close() {
	for _, s := range w.Slots {
		if s.proc != nil {
			s.proc.Kill()
		}
		for _, l := range []*Link{s.StoreLink, s.BusLink} {
			if l != nil {
				l.Close()
			}
		}
	}
	if w.control != nil {
		w.control.close()
	}
	if w.ReplicaLink != nil {
		w.ReplicaLink.Close()
	}
	closeAll(w.owned)
	if w.Bus != nil {
		w.Bus.Kill()
	}
}
