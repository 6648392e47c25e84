package redisfaults

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/redistest"
)

// Fault is what goes wrong while the consumers work.
type Fault struct {
	// Name is short, for the name of a test.
	Name string
	// Why says what happens, and why a store must bear it.
	Why string

	args   []string // of redis-server
	strike func(ctx context.Context, g *ground)
}

// All returns all faults, the one that is none first.
func All() []Fault {
	return []Fault{
		{Name: "none", Why: "what holds under faults must hold without them", strike: none},
		{Name: "connections cut", Why: "all connections break at any moment, again and again", strike: cut},
		{Name: "exchanges spoiled", Why: "single requests and replies are lost, or cut in half", strike: spoil},
		{Name: "delays", Why: "replies come later than anybody waits for them", strike: delay},
		{Name: "scripts flushed", Why: "the server forgets its scripts, as after a failover", strike: flush},
		{Name: "server stopped", Why: "the server stands still, and then does what nobody waits for any more", strike: stop},
		{Name: "server killed", Why: "a server that syncs every write loses none that it confirmed", strike: kill, args: durable},
		{Name: "everything", Why: "faults do not come one at a time", strike: everything, args: durable},
	}
}

// durable makes the server keep every write that it confirms.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// ground is where a fault strikes.
type ground struct {
	*redistest.Server
	*netproxy.Proxy
	*histories.Recorder
	direct *redis.Client
	rng    *rand.Rand
}

// wait waits for between a and b and reports false when ctx has ended.
func (g *ground) wait(ctx context.Context, a, b time.Duration) bool {
	timer := time.NewTimer(a + time.Duration(g.rng.Int64N(int64(b-a))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const ms = time.Millisecond

func none(context.Context, *ground) {}

func cut(ctx context.Context, g *ground) {
	for g.wait(ctx, 3*ms, 20*ms) {
		g.cutOnce()
	}
}

func (g *ground) cutOnce() {
	g.Note("cut")
	g.Cut()
}

func spoil(ctx context.Context, g *ground) {
	for g.wait(ctx, 1*ms, 6*ms) {
		g.spoilOnce(ctx)
	}
}

func (g *ground) spoilOnce(ctx context.Context) {
	points := [...]netproxy.Point{netproxy.BeforeReply, netproxy.BeforeReply, netproxy.WithinReply, netproxy.WithinRequest, netproxy.BeforeRequest}
	trap := g.CutAt(points[g.rng.IntN(len(points))], command)
	select {
	case <-trap.Sprung():
		g.Note("spoiled")
	case <-ctx.Done():
	}
}

func delay(ctx context.Context, g *ground) {
	for g.wait(ctx, 5*ms, 40*ms) {
		g.delayOnce(ctx)
	}
}

func (g *ground) delayOnce(ctx context.Context) {
	d := time.Duration(g.rng.Int64N(int64(60 * ms)))
	g.Note("delay %v", d)
	g.Delay(d)
	g.wait(ctx, 20*ms, 60*ms)
	g.Delay(0)
	g.Note("no delay")
}

func flush(ctx context.Context, g *ground) {
	for g.wait(ctx, 1*ms, 10*ms) {
		g.flushOnce(ctx)
	}
}

func (g *ground) flushOnce(ctx context.Context) {
	g.Note("scripts flushed")
	_ = g.direct.ScriptFlush(ctx).Err() // the server may be away
}

func stop(ctx context.Context, g *ground) {
	for g.wait(ctx, 40*ms, 120*ms) {
		g.stopOnce(ctx)
	}
}

func (g *ground) stopOnce(ctx context.Context) {
	g.Note("stopped")
	g.Stop()
	g.wait(ctx, 20*ms, 120*ms)
	g.Cont()
	g.Note("continued")
}

func kill(ctx context.Context, g *ground) {
	for g.wait(ctx, 50*ms, 200*ms) {
		g.killOnce(ctx)
	}
}

func (g *ground) killOnce(ctx context.Context) {
	g.Note("killed")
	g.Kill()
	g.wait(ctx, 1*ms, 30*ms)
	g.Restart()
	g.Note("restarted")
}

func everything(ctx context.Context, g *ground) {
	for g.wait(ctx, 5*ms, 30*ms) {
		switch n := g.rng.IntN(20); {
		case n < 5:
			g.cutOnce()
		case n < 10:
			g.spoilOnce(ctx)
		case n < 13:
			g.delayOnce(ctx)
		case n < 16:
			g.flushOnce(ctx)
		case n < 18:
			g.stopOnce(ctx)
		default:
			g.killOnce(ctx)
		}
	}
}
