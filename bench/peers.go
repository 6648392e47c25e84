//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
)

// peer is another way to handle a message once: claim, run, done.
type peer struct {
	name string
	// how says what it sends for a message, and whose code that is.
	how string
	// lacks says what it does not guarantee.
	lacks string
	// claims tells that its claim ends by itself, that its completion checks the
	// owner, and that it can tell a done message from a running one: what Once
	// cannot do without.
	claims bool
	// open returns what handles the n-th message, with a client that it may share
	// by all callers.
	open func(b *bench, client redis.UniversalClient) (func(n uint64) error, error)
	// dial opens one that brings a client of its own along.
	dial func(b *bench, s *server) (func(n uint64) error, error)
}

// peerResult is a peer in the report.
type peerResult struct {
	Name    string  `json:"name"`
	How     string  `json:"how"`
	Lacks   string  `json:"does_not_guarantee"`
	Claims  bool    `json:"claims_checks_owner_tells_done"`
	Setting string  `json:"setting"`
	Memory  bool    `json:"in_memory"` // in this process, without a server
	Bytes   float64 `json:"bytes_per_id"`
	sample
}

// oncePeer is Once among its peers.
const oncePeer = "Once, redisstore"

// peerCallers handle messages side by side.
const peerCallers = 256

// setting is a way to set up go-redis.
type setting struct {
	name string
	open func(b *bench, s *server) (redis.UniversalClient, error)
}

// settings of go-redis, of which each peer gets the one it is fastest with.
var clientSettings = []setting{
	{"20 connections", func(b *bench, s *server) (redis.UniversalClient, error) {
		return b.client(s, &redis.Options{PoolSize: 20})
	}},
	{"64 connections", func(b *bench, s *server) (redis.UniversalClient, error) {
		return b.client(s, &redis.Options{PoolSize: 64})
	}},
	{"go-redis's automatic pipelines", func(b *bench, s *server) (redis.UniversalClient, error) {
		client, err := b.client(s, nil)
		if err != nil {
			return nil, err
		}
		pipeliner, err := client.AutoPipeline()
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		b.closers = append(b.closers, func() { _ = pipeliner.Close() })
		return pipeliner, nil
	}},
}

// peers measures Once and its peers in turn, each with the client that suits it.
func (b *bench) peers() error {
	do, err := b.redisDo(peerCallers)
	if err != nil {
		return err
	}
	ways, results := []*way{do}, []peerResult{{Name: oncePeer, How: "Do", Setting: "as it comes", Claims: true}}
	for _, p := range peers {
		w, setting, err := b.atItsBest(p)
		if err != nil {
			return err
		}
		ways = append(ways, w)
		results = append(results, peerResult{Name: p.name, How: p.how, Lacks: p.lacks, Claims: p.claims, Setting: setting})
	}
	all, err := b.turns("peers", b.set.turns, ways...)
	if err != nil {
		return err
	}
	same, anyKind := math.Inf(1), math.Inf(1)
	for i := range results {
		results[i].sample = all[i].median()
		if i == 0 {
			continue
		}
		faster := ratio(all[0], all[i], rate)
		anyKind = min(anyKind, faster)
		if results[i].Claims {
			same = min(same, faster)
		}
	}
	if err := b.peerBytes(results); err != nil {
		return err
	}
	b.report.Peers = results
	const how = "no-op handler, each peer at the fastest of %d settings of its client, median of %d turns of %v"
	b.found(peerSame, same, how, len(clientSettings), b.set.turns, b.set.sample)
	b.found(peerAny, anyKind, how+"; none of the others keeps what Once guarantees", len(clientSettings), b.set.turns, b.set.sample)
	return b.inMemory()
}

// atItsBest returns the way of a peer with the client that it is fastest with.
func (b *bench) atItsBest(p peer) (best *way, name string, err error) {
	if p.dial != nil {
		handle, err := p.dial(b, b.redis)
		return p.way(b.redis, handle), "its own client's automatic pipelines", err
	}
	fastest := 0.0
	for _, setting := range clientSettings {
		w, err := p.with(b, b.redis, setting)
		if err != nil {
			return nil, "", err
		}
		s, err := b.sample(w)
		if err != nil {
			return nil, "", fmt.Errorf("bench: %s, %s: %w", p.name, setting.name, err)
		}
		b.progress("peers: %s, %s: %.0f messages/s", p.name, setting.name, s.Rate)
		if s.Rate > fastest {
			best, name, fastest = w, setting.name, s.Rate
		}
	}
	return best, name, nil
}

func (p peer) with(b *bench, s *server, c setting) (*way, error) {
	client, err := c.open(b, s)
	if err != nil {
		return nil, err
	}
	handle, err := p.open(b, client)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", p.name, err)
	}
	return p.way(s, handle), nil
}

func (p peer) way(s *server, handle func(n uint64) error) *way {
	return &way{name: p.name, callers: peerCallers, per: 1, server: s, timed: true,
		open: func(int) (func(uint64) error, error) { return handle, nil }}
}

// peerBytes measures what an id takes, by as many ids as fill tables as well as a
// million do: some peers take a tenth of a millisecond for each.
func (b *bench) peerBytes(results []peerResult) error {
	ids := manyIDs / 16 / b.set.shrink
	for i := range results {
		r := &results[i]
		perID, err := b.perID(r.Name, i == 0, ids, func(s *server) (*way, error) {
			if i == 0 {
				store, err := b.store(s, nil)
				if err != nil {
					return nil, err
				}
				d, err := b.deduper(store, dedupe.Options{})
				return b.do(r.Name, s, d, peerCallers), err
			}
			p := peers[i-1]
			if p.dial != nil {
				handle, err := p.dial(b, s)
				return p.way(s, handle), err
			}
			return p.with(b, s, clientSettings[len(clientSettings)-1])
		})
		if err != nil {
			return err
		}
		r.Bytes = significant(perID)
	}
	return nil
}

// inMemory compares what remembers in the process alone.
func (b *bench) inMemory() error {
	d, err := b.memory()
	if err != nil {
		return err
	}
	names := []string{"Once, memstore", watermillInMemory.name}
	seen, err := watermillInMemory.open(b, nil)
	if err != nil {
		return err
	}
	ways := []*way{b.do(names[0], nil, d, peerCallers), watermillInMemory.way(nil, seen)}
	all, err := b.turns("peers in memory", b.set.turns, ways...)
	if err != nil {
		return err
	}
	for i, s := range all {
		r := peerResult{Name: names[i], How: "Do", Setting: "records end as fast as they come", Claims: true}
		if i == 1 {
			r = peerResult{Name: names[i], How: watermillInMemory.how, Lacks: watermillInMemory.lacks, Setting: "remembers for a minute"}
		}
		r.Memory, r.sample = true, s.median()
		if r.Bytes, err = b.heapPerID(i == 0); err != nil {
			return err
		}
		b.report.Peers = append(b.report.Peers, r)
	}
	return nil
}

// heapPerID returns the bytes that an id takes in memstore, or in Watermill.
func (b *bench) heapPerID(once bool) (float64, error) {
	before := heap()
	var w *way
	if once {
		store, err := memstore.New(nil)
		if err != nil {
			return 0, fmt.Errorf("bench: %w", err)
		}
		d, err := b.deduper(store, dedupe.Options{MemorySize: dedupe.Off})
		if err != nil {
			return 0, err
		}
		w = b.do("Once, memstore", nil, d, ceilingConns)
	} else {
		seen, err := watermillInMemory.open(b, nil)
		if err != nil {
			return 0, err
		}
		w = watermillInMemory.way(nil, seen)
	}
	ids := manyIDs / b.set.shrink
	err := b.fill(w, ids)
	after := heap()
	runtime.KeepAlive(w)
	return significant((after - before) / float64(ids)), err
}

var errNotObtained = errors.New("a message that nobody had before was not obtained")

// background is the context of all calls: a deadline would cost time that is not
// the peer's.
var background = context.Background()
