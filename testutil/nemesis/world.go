//go:build linux

package nemesis

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/testutil/kafkatest"
)

// World is what a trial runs in.
type World struct {
	Trial *Trial
	Dir   string
	Bus   *Bus              // nil in a trial on Kafka
	Kafka *kafkatest.Broker // nil in one on JetStream
	KV    *Bus              // the store's server, with NATSClaims
	// Postgres has the inbox, with PostgresInbox.
	Postgres *Postgres
	Store    *Redis   // with RedisClaims the only server, or the primary
	Nodes    []*Redis // of a cluster, with slots at the start
	Spare    *Redis   // one more, without
	// Standby is the replica, which reaches the primary by ReplicaLink. With
	// sentinels all others do too, and the replica does from ReplicaHost.
	Standby     *Redis
	ReplicaLink *Link
	Sentinels   []*Sentinel
	Clock       *Clock
	Slots       []*Slot

	ctx     context.Context // the trial's, which the world does not outlive
	control *control
	hitting sync.Mutex
	after   sync.WaitGroup // what is repaired in the background

	mu        sync.Mutex // guards the following
	disturbed int
	owned     []*Redis // to be closed
	hits      []Hit
	exits     []exit
	stops     []span
	losses    []int64      // when the store may have lost records
	moved     map[int]bool // slots that the spare node was given; of one hit at a time
	steps     []int64
	troubles  []error
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

func (w *World) setUp(ctx context.Context) (err error) {
	t := w.Trial
	if t.Kafka {
		w.Kafka, err = kafkatest.Open()
	} else {
		w.Bus, err = StartBus(filepath.Join(w.Dir, "bus"))
	}
	if err != nil {
		return err
	}
	if err = w.startBackend(ctx); err != nil {
		return err
	}
	if w.control, err = startControl(filepath.Join(w.Dir, "control"), w.hit); err != nil {
		return err
	}
	o, err := w.orders()
	if err != nil {
		return err
	}
	defer o.close()
	if err = o.setUp(ctx); err != nil {
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

func (w *World) startRedis(dir string) (err error) {
	t := w.Trial
	if t.Nodes > 0 {
		if w.Nodes, err = StartCluster(dir, t.Nodes); err != nil {
			return err
		}
		w.Store, w.owned = w.Nodes[0], slices.Clone(w.Nodes)
		if t.Spare {
			w.Spare, err = joinCluster(filepath.Join(w.Dir, "spare"), w.Nodes)
			w.owned = append(w.owned, w.Spare)
		}
		return err
	}
	if t.Clock {
		if w.Clock, err = NewClock(w.Dir); err != nil {
			return err
		}
	}
	args := t.StoreArgs
	if t.Replica || t.Sentinel {
		args = append([]string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}, args...)
	}
	if w.Store, err = StartRedis(dir, w.Clock, args...); err != nil {
		return err
	}
	w.owned = append(w.owned, w.Store)
	if !t.Replica && !t.Sentinel {
		return nil
	}
	if w.ReplicaLink, err = NewLink(w.Store.Addr); err != nil {
		return err
	}
	if w.Standby, err = w.Store.StartReplica(filepath.Join(w.Dir, "standby"), w.ReplicaLink.Addr()); err != nil {
		return err
	}
	w.owned = append(w.owned, w.Standby)
	if t.Sentinel {
		w.Sentinels, err = startSentinels(filepath.Join(w.Dir, "sentinels"), w.ReplicaLink.Addr())
	}
	return err
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
		// Also when the trial is over: what was stopped must go on, or cannot end.
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
	for _, s := range w.Sentinels {
		s.close()
	}
	closeAll(w.owned)
	if w.Postgres != nil {
		w.Postgres.Close()
	}
	for _, b := range []*Bus{w.KV, w.Bus} {
		if b != nil {
			b.Kill()
		}
	}
	if w.Kafka != nil {
		w.Kafka.Close()
	}
}
