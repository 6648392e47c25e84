package natsstore_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/natstest"
	"github.com/oncebus/once/testutil/netproxy"
)

// ground is where a fault strikes.
type ground struct {
	t        testing.TB
	js       jetstream.JetStream // which no fault reaches
	connect  func() jetstream.JetStream
	strike   func(ctx context.Context, note func(string, ...any))
	replicas int
}

// Concurrent consumers, each with a connection of its own, under each fault:
// with leases that hold, and with leases that end.
func TestHistories(t *testing.T) {
	slots := make(chan struct{}, 3)
	for name, prepare := range map[string]func(t testing.TB) *ground{
		"none": onServer, "connections cut": withCuts, "delays": withDelays, "server killed": withKills, "leader moved": withMoves,
	} {
		for _, lease := range []time.Duration{0, 60 * time.Millisecond} {
			t.Run(name+"/lease "+lease.String(), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				record(t, prepare(t), histories.Workload{Operations: 240, Lease: lease, Operators: lease == 0,
					Timeout: 150 * time.Millisecond, Pause: 4 * time.Millisecond})
			})
		}
	}
}

func record(t *testing.T, g *ground, w histories.Workload) {
	w.Seed = rand.Uint64()
	bucket := newBucket(t, g.js, func(c *jetstream.StreamConfig) { c.Replicas = max(1, g.replicas) })
	traffic, recorder := w.Start(), histories.NewRecorder()
	clients := make([]histories.Client, 6)
	for i := range clients {
		store := newStore(t, g.connect(), bucket)
		if i%2 == 0 { // many copies
			store.SendAgainAfter(15 * time.Millisecond)
		}
		clients[i].Store = store
		// A leader stamps a write before the other servers have it.
		clients[i].EarlyClock = g.replicas > 1
	}
	strike := func(ctx context.Context) {
		if g.strike != nil {
			g.strike(context.WithValue(ctx, bucketOf{}, bucket), recorder.Note)
		}
		<-ctx.Done()
	}
	recorder.Run(strike, traffic.Drive(clients...)...)
	recorder.Note("all is well")
	traffic.Timeout = 20 * time.Second
	recorder.Run(nil, traffic.Probe(histories.Client{Store: newStore(t, g.js, bucket)}))
	h := recorder.History()
	r := histories.Check(t, h)
	t.Logf("seed %d: %+v; %d keys by the weaker model", w.Seed, h.Counts(), r.Weaker)
}

type bucketOf struct{}

func onServer(t testing.TB) *ground {
	s := start(t)
	return &ground{t: t, js: s.JetStream(), connect: func() jetstream.JetStream { return s.JetStream() }}
}

func withCuts(t testing.TB) *ground {
	return behindProxy(t, func(p *netproxy.Proxy, note func(string, ...any)) {
		note("cut")
		p.Cut()
	})
}

func withDelays(t testing.TB) *ground {
	return behindProxy(t, func(p *netproxy.Proxy, note func(string, ...any)) {
		d := time.Duration(rand.N(3)) * 60 * time.Millisecond
		note("delay %v", d)
		p.Delay(d)
	})
}

// behindProxy is a server whose clients reach it through a proxy to which strike
// does something again and again.
func behindProxy(t testing.TB, strike func(*netproxy.Proxy, func(string, ...any))) *ground {
	s := start(t)
	if s.External() {
		t.Skip("the server at NATS_URL is not behind a proxy")
	}
	p := netproxy.New(t, strings.TrimPrefix(s.URL(), "nats://"))
	through := natstest.At(t, "nats://"+p.Addr())
	return &ground{
		t: t, js: s.JetStream(),
		connect: func() jetstream.JetStream { return through.JetStream(nats.IgnoreDiscoveredServers()) },
		strike: func(ctx context.Context, note func(string, ...any)) {
			for wait(ctx, 10*time.Millisecond, 60*time.Millisecond) {
				strike(p, note)
			}
			p.Delay(0)
		},
	}
}

// withKills is a server that syncs every write, and is killed.
func withKills(t testing.TB) *ground {
	p := natstest.RunProcess(t)
	return &ground{
		t: t, js: p.JetStream(),
		connect: func() jetstream.JetStream { return p.JetStream() },
		strike: func(ctx context.Context, note func(string, ...any)) {
			for range 2 {
				if !wait(ctx, 50*time.Millisecond, 150*time.Millisecond) {
					return
				}
				note("killed")
				p.Kill()
				p.Restart()
				note("restarted")
			}
		},
	}
}

// withMoves is a cluster of three whose stream gets another leader again and
// again.
func withMoves(t testing.TB) *ground {
	c := natstest.RunCluster(t, 3)
	js := c.JetStream()
	return &ground{
		t: t, js: js, replicas: 3,
		connect: func() jetstream.JetStream { return c.JetStream() },
		strike: func(ctx context.Context, note func(string, ...any)) {
			for wait(ctx, 100*time.Millisecond, 300*time.Millisecond) {
				note("step down: %v", c.StepDown(ctx, js, "KV_"+ctx.Value(bucketOf{}).(string)))
			}
		},
	}
}

// wait waits for between a and b and reports false when ctx has ended.
func wait(ctx context.Context, a, b time.Duration) bool {
	timer := time.NewTimer(a + rand.N(b-a))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
