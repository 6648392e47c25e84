package sqlstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/sqltest"
)

// Concurrent consumers on the database's own clock, with leases that hold and
// leases that end.
func TestHistories(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		for _, lease := range []time.Duration{0, 80 * time.Millisecond} {
			t.Run(fmt.Sprintf("lease %v", lease), func(t *testing.T) {
				db := d.open(t)
				store := d.store(t, db)
				w := histories.Workload{Seed: rand.Uint64(), Operations: 600, Lease: lease, Operators: lease == 0}
				if lease != 0 {
					w.Pause = 10 * time.Millisecond
				}
				traffic, recorder := w.Start(), histories.NewRecorder()
				clients := make([]histories.Client, 6)
				for i := range clients {
					clients[i] = histories.Client{Store: store, EarlyClock: true}
				}
				recorder.Run(nil, traffic.Drive(clients...)...)
				recorder.Run(nil, traffic.Probe(clients[0]))
				h := recorder.History()
				histories.Check(t, h)
				t.Logf("seed %d: %+v", w.Seed, h.Counts())
			})
		}
	})
}

// The same while connections break, replies are lost, and the server is killed.
func TestHistoriesUnderFaults(t *testing.T) {
	servers := map[string]struct {
		database
		start func(testing.TB) *sqltest.Server
	}{
		"PostgreSQL": {databases[2], sqltest.StartPostgres},
		"MariaDB":    {databases[3], sqltest.StartMariaDB},
	}
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := s.start(t)
			direct := server.Database(t)
			probe := s.storeWith(t, direct.Open(t), nil)
			for _, lease := range []time.Duration{0, 100 * time.Millisecond} {
				w := histories.Workload{
					Seed: rand.Uint64(), Operations: 500, Lease: lease, Operators: lease == 0,
					Timeout: 150 * time.Millisecond, Pause: 5 * time.Millisecond,
				}
				proxy := netproxy.New(t, server.Addr)
				traffic, recorder := w.Start(), histories.NewRecorder()
				clients := make([]histories.Client, 6)
				for i := range clients {
					clients[i] = histories.Client{Store: s.storeWith(t, server.At(direct, proxy.Addr()).Open(t), nil), EarlyClock: true}
				}
				recorder.Run(func(ctx context.Context) {
					trouble{server, proxy, recorder, rand.New(rand.NewPCG(w.Seed, 1))}.strike(t, ctx)
				}, traffic.Drive(clients...)...)
				recorder.Note("all is well")
				traffic.Timeout = 20 * time.Second
				recorder.Run(nil, traffic.Probe(histories.Client{Store: probe, EarlyClock: true}))
				h := recorder.History()
				histories.Check(t, h)
				t.Logf("seed %d: %+v", w.Seed, h.Counts())
			}
		})
	}
}

// trouble is what goes wrong on the way to a server.
type trouble struct {
	*sqltest.Server
	*netproxy.Proxy
	*histories.Recorder
	rng *rand.Rand
}

func (g trouble) strike(t *testing.T, ctx context.Context) {
	wait := func(d time.Duration) bool {
		timer := time.NewTimer(time.Duration(g.rng.Int64N(int64(d))))
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	killed := false
	for wait(40 * time.Millisecond) {
		switch n := g.rng.IntN(20); {
		case n < 7:
			g.Note("cut")
			g.Cut()
		case n < 14:
			points := [...]netproxy.Point{netproxy.BeforeReply, netproxy.WithinReply, netproxy.WithinRequest}
			trap := g.CutAt(points[g.rng.IntN(len(points))], "")
			select {
			case <-trap.Sprung():
				g.Note("spoiled")
			case <-ctx.Done():
			}
		case n < 19:
			g.Note("delay")
			g.Delay(time.Duration(g.rng.Int64N(int64(100 * time.Millisecond))))
			wait(60 * time.Millisecond)
			g.Delay(0)
		case !killed:
			killed = true
			g.Note("killed")
			g.Restart(t)
			g.Note("restarted")
		}
	}
}
