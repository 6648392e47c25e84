package kafkabus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/redistest"
)

var stormOrders = flag.Int("storm", 0, "how many `orders` the storm on Kafka has; default is 100,000 where ONCE_REQUIRE_SERVERS is set, else 2,000")

// workerEnv makes this binary a worker of the storm. It holds a worker as JSON.
const workerEnv = "ONCE_KAFKABUS_WORKER"

// worker is a process that consumes.
type worker struct {
	Brokers                           []string
	Topic, Group, Redis, Prefix, Path string
}

// A worker writes a line of this length for each effect, and for each order of
// which the bus is told that it is settled.
const lineLength = len("e 0000000 0000000\n")

func line(kind byte, order, pid int) []byte {
	return fmt.Appendf(nil, "%c %07d %07d\n", kind, order, pid)
}

func runWorker(text string) error {
	var w worker
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	return w.run()
}

// run consumes until the process is told to end.
func (w worker) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ledger, err := os.OpenFile(w.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: w.Redis, ContextTimeoutEnabled: true})
	defer client.Close()
	store, err := redisstore.New(ctx, client, &redisstore.Options{Prefix: w.Prefix})
	if err != nil {
		return err
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "storm", Lease: stormLease, Retention: time.Hour, Logger: quiet})
	if err != nil {
		return err
	}
	c, err := kafkabus.New(&kafkabus.Options{
		Order: kafkabus.Unordered, Concurrency: 16, CommitInterval: 100 * time.Millisecond, RevokeTimeout: 2 * time.Second,
		ID: kafkabus.IDFromHeader("id"), Logger: quiet,
	},
		kgo.SeedBrokers(w.Brokers...), kgo.ConsumerGroup(w.Group), kgo.ConsumeTopics(w.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond), kgo.SessionTimeout(3*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	order := func(m *bus.Message) (n int) {
		_, _ = fmt.Sscan(m.ID, &n)
		return n
	}
	once := d.Wrap(func(_ context.Context, m *bus.Message) error {
		_, err := ledger.Write(line('e', order(m), os.Getpid()))
		return err
	})
	err = c.Consume(ctx, func(ctx context.Context, m *bus.Message) error {
		err := once(ctx, m)
		if err == nil {
			_, err = ledger.Write(line('s', order(m), os.Getpid()))
		}
		return err
	})
	return errors.Join(err, d.Close(context.Background()))
}

var quiet = slog.New(slog.DiscardHandler)

// stormLease is longer than any of the processes is kept from its heartbeats.
const stormLease = 4 * time.Second

// storm is the parent's side: three workers, of which one after the other is killed
// or told to end, and replaced.
type storm struct {
	t       *testing.T
	worker  worker
	workers []*exec.Cmd
	killed  map[int]bool // by pid
}

func (s *storm) start(i int) {
	s.t.Helper()
	text, _ := json.Marshal(s.worker) // strings
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.workers[i] = cmd
}

// end ends a worker, by a kill or in order, and returns when it has gone.
func (s *storm) end(i int, kill bool) {
	s.t.Helper()
	cmd := s.workers[i]
	if cmd == nil {
		return
	}
	s.workers[i] = nil
	sig := syscall.SIGTERM
	if kill {
		sig, s.killed[cmd.Process.Pid] = syscall.SIGKILL, true
	}
	_ = cmd.Process.Signal(sig)
	// One that was not up yet ends by the signal.
	if err := cmd.Wait(); err != nil && !kill && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		s.t.Errorf("a worker that was told to end: %v", err)
	}
}

// lines returns how many lines the workers have written.
func (s *storm) lines() int {
	info, err := os.Stat(s.worker.Path)
	if err != nil {
		s.t.Fatal(err)
	}
	return int(info.Size()) / lineLength
}

// Orders come on six partitions, some twice. Three processes handle them, and now and
// then one is killed, or leaves and comes back. Nothing is lost, and what takes effect
// twice was first done by a process that was killed between the effect and its record.
func TestAStormOfKillsAndRebalances(t *testing.T) {
	t.Parallel()
	orders, strikes := 2000, 4
	switch {
	case *stormOrders > 0:
		orders, strikes = *stormOrders, 8
	case os.Getenv("ONCE_REQUIRE_SERVERS") == "1" && !testing.Short():
		orders, strikes = 100_000, 8
	}
	r := redistest.Start(t)
	const partitions, processes = 6, 3
	c := realCluster(t)
	tp := c.topic(t, partitions)
	s := &storm{t: t, workers: make([]*exec.Cmd, processes), killed: map[int]bool{}, worker: worker{
		Brokers: c.addrs, Topic: tp.name, Group: tp.group, Redis: r.Addr, Prefix: r.Prefix, Path: filepath.Join(t.TempDir(), "ledger"),
	}}
	if err := os.WriteFile(s.worker.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	ends := make([]int64, partitions)
	var p int32
	for n := range orders {
		for range 1 + n%10/9 { // one in ten twice
			p = (p + 1) % partitions
			ends[p]++
			tp.producer.Produce(t.Context(), &kgo.Record{Partition: p, Value: []byte("order"),
				Headers: []kgo.RecordHeader{{Key: "id", Value: fmt.Append(nil, n)}}}, nil)
		}
	}
	if err := tp.producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range s.workers {
		s.start(i)
		defer func() { s.end(i, true) }() // if the test fails on the way
	}
	for strike := range strikes {
		untilWithin(t, 2*time.Minute, func() bool { return s.lines() > strike*2*orders/strikes })
		s.end(strike%processes, strike%2 == 0)
		s.start(strike % processes)
	}
	untilWithin(t, 2*time.Minute, func() bool {
		for p, end := range ends {
			if tp.committed(t, int32(p)) != end {
				return false
			}
		}
		return true
	})
	for i := range s.workers {
		s.end(i, false)
	}
	lost, excused := s.judge(orders)
	t.Logf("%d orders in %v: %d lost, %d killed after the effect and run again; %d kills", orders, time.Since(begun).Round(100*time.Millisecond), lost, excused, len(s.killed))
}

// judge reads the ledger.
func (s *storm) judge(orders int) (lost, excused int) {
	text, err := os.ReadFile(s.worker.Path)
	if err != nil {
		s.t.Fatal(err)
	}
	type run struct{ order, pid int }
	effects, settled := make([][]int, orders), map[run]bool{}
	for l := range bytes.Lines(text) {
		var r run
		if _, err := fmt.Sscanf(strings.TrimSpace(string(l[2:])), "%d %d", &r.order, &r.pid); err != nil {
			s.t.Fatalf("the line %q: %v", l, err)
		}
		if l[0] == 'e' {
			effects[r.order] = append(effects[r.order], r.pid)
		} else {
			settled[r] = true
		}
	}
	for n, pids := range effects {
		switch {
		case len(pids) == 0:
			lost++
			s.t.Errorf("order %d is lost", n)
		default:
			for _, pid := range pids[:len(pids)-1] {
				if !s.killed[pid] || settled[run{n, pid}] {
					s.t.Errorf("order %d took effect %d times, and the process that did it before lived on", n, len(pids))
				}
				excused++
			}
		}
	}
	return lost, excused
}
