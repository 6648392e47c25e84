package redisstore_test

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
	"github.com/oncebus/once/testutil/sequences"
)

// unit is the shortest lease on a real server. Some cases fail if the machine
// stands still for two of them.
const unit = 100 * time.Millisecond

// ground is a kind of Redis on which suites run. start returns a function that
// opens a store with a layout on it, with keys that no other store has.
type ground struct {
	name  string
	start func(t *testing.T) func(t testing.TB, l layout) *claimtest.Harness
}

// The users of docs/redis.acl can do all that a store does: a command that the
// script takes up must be added there.
var (
	miniGround = ground{"miniredis", func(*testing.T) func(testing.TB, layout) *claimtest.Harness {
		return onMiniredis
	}}
	serverGround = ground{"server", func(t *testing.T) func(testing.TB, layout) *claimtest.Harness {
		s, client, prefix := documentedServer(t)
		return onServer(client, prefix, s.Advance)
	}}
	clusterGround = ground{"cluster", func(t *testing.T) func(testing.TB, layout) *claimtest.Harness {
		c := redistest.StartCluster(t, 3, "--aclfile", aclFile(t))
		o := c.Options()
		o.Username, o.Password = "once-cluster", "secret"
		client := redis.NewClusterClient(o)
		t.Cleanup(func() { _ = client.Close() })
		return onServer(client, "once:", c.Advance)
	}}
	sentinelGround = ground{"sentinel", func(t *testing.T) func(testing.TB, layout) *claimtest.Harness {
		s := redistest.StartSentinel(t)
		return onServer(s.Client(), "once:", s.Advance)
	}}
)

// layout is how a store keeps its records.
type layout struct {
	name    string
	options func() *redisstore.Options
	unit    time.Duration // on miniredis; 0 is a second
}

func plain() layout {
	return layout{name: "plain", options: func() *redisstore.Options { return &redisstore.Options{} }}
}

func packed(retention time.Duration) layout {
	return layout{name: "packed", options: func() *redisstore.Options { return packedFor("", retention) }}
}

func places(name string, packed bool) layout {
	return layout{name: name, options: func() *redisstore.Options { return positionsFor("", packed) }}
}

// inTwos makes batches of more than two operations go out as several calls.
func (l layout) inTwos() layout {
	options := l.options
	l.options = func() *redisstore.Options {
		o := options()
		o.MaxBatch = 2
		return o
	}
	return l
}

// in makes u the unit on miniredis.
func (l layout) in(u time.Duration) layout {
	l.unit = u
	return l
}

// The waits of all grounds pass together; what computes on miniredis does so one
// after the other.
func TestContract(t *testing.T) {
	forEach(t, map[*ground][]layout{
		&miniGround:     {plain(), packed(2 * time.Hour).inTwos(), places("places", false).inTwos()},
		&serverGround:   {plain(), packed(10 * unit), places("places", true)},
		&clusterGround:  {plain(), packed(10 * time.Minute), places("places", false)},
		&sentinelGround: {plain()},
	}, claimtest.Run)
}

// The ends of the packed layout are exact in so short a retention as here, and the
// sequences compare them.
func TestRandomSequences(t *testing.T) {
	forEach(t, map[*ground][]layout{
		&miniGround:   {plain().inTwos(), packed(100 * time.Millisecond).inTwos().in(10 * time.Millisecond), places("places", false).inTwos(), places("packed places", true).inTwos()},
		&serverGround: {plain(), packed(10 * unit), places("places", false)},
	}, sequences.Run)
}

// Without combining, and with as much of it as there can be.
func TestSingles(t *testing.T) {
	t.Parallel()
	open := serverGround.start(t)
	uncombined := layout{options: func() *redisstore.Options { return &redisstore.Options{NoCombining: true} }}
	t.Run("uncombined", func(t *testing.T) {
		t.Parallel()
		claimtest.RunSingle(t, func(t testing.TB) *claimtest.Harness { return open(t, uncombined) })
	})
	t.Run("uncombined sequences", func(t *testing.T) {
		t.Parallel()
		sequences.Run(t, func(t testing.TB) *claimtest.Harness { return open(t, uncombined) })
	})
	t.Run("one flight", func(t *testing.T) {
		t.Parallel()
		claimtest.RunSingle(t, func(t testing.TB) *claimtest.Harness {
			h := open(t, plain())
			h.Store.(*redisstore.Store).OneFlight(t)
			return h
		})
	})
}

// forEach runs a suite on each ground with its layouts. Under -short, for the race
// detector, all of them are on the server, where scripts cost little, and the first
// is elsewhere.
func forEach(t *testing.T, grounds map[*ground][]layout, suite func(*testing.T, func(testing.TB) *claimtest.Harness)) {
	t.Parallel()
	for g, layouts := range grounds {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for i, l := range layouts {
				t.Run(l.name, func(t *testing.T) {
					if i > 0 && g != &serverGround && testing.Short() {
						t.Skip("it runs on the server")
					}
					if g != &miniGround {
						t.Parallel()
					}
					open := g.start(t) // for each: List looks at all that a server has
					suite(t, func(t testing.TB) *claimtest.Harness { return open(t, l) })
				})
			}
		})
	}
}

func onMiniredis(t testing.TB, l layout) *claimtest.Harness {
	m, o := redistest.Mini(t), l.options()
	return &claimtest.Harness{
		Store:   newStore(t, m.Client(), o),
		Advance: m.Advance,
		Unit:    cmp.Or(l.unit, time.Second),
		Places:  o.Positions != nil,
	}
}

// onServer is for a real server that tests share.
func onServer(client redis.UniversalClient, prefix string, advance func(time.Duration)) func(testing.TB, layout) *claimtest.Harness {
	return func(t testing.TB, l layout) *claimtest.Harness {
		o := l.options()
		o.Prefix = fresh(prefix)
		if o.Positions != nil { // which need one slot
			o.Prefix = fresh(prefix + "{tag}:")
		}
		return &claimtest.Harness{
			Store:    newStore(t, client, o),
			Advance:  advance,
			Unit:     unit,
			Places:   o.Positions != nil,
			Parallel: true,
		}
	}
}

var prefixes atomic.Int64

func fresh(prefix string) string { return fmt.Sprintf("%s%d:", prefix, prefixes.Add(1)) }

// packedFor returns options with the packed layout.
func packedFor(prefix string, retention time.Duration) *redisstore.Options {
	return &redisstore.Options{Prefix: prefix, Packed: &redisstore.PackedOptions{Retention: retention}}
}

// positionsFor returns options with positions, beside the plain layout or the
// packed one.
func positionsFor(prefix string, packed bool) *redisstore.Options {
	o := &redisstore.Options{Prefix: prefix}
	if packed {
		o = packedFor(prefix, time.Hour)
	}
	o.Positions = &redisstore.PositionOptions{}
	return o
}

// layouts calls run for positions beside each of the two layouts.
func layouts(t *testing.T, run func(t *testing.T, packed bool)) {
	for name, packed := range map[string]bool{"plain": false, "packed": true} {
		t.Run(name, func(t *testing.T) { run(t, packed) })
	}
}
