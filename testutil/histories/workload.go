package histories

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

// Workload is what clients do at random. The zero Workload is one without
// expiry: leases that outlast every history. The seed fixes every client's
// decisions; how the clients' operations fall between one another it cannot.
type Workload struct {
	// Seed is where the random decisions begin. Defaults to 0, which is a seed.
	Seed uint64
	// Operations is how many there are, of all clients together. Defaults to 1000.
	Operations int
	// Keys is how many keys are in use at a time. Defaults to 4.
	Keys int
	// PerKey is how many operations a key gets, about, before another takes its
	// place. What the checker has to do grows with it. Defaults to 60.
	PerKey int
	// Lease is the length of a lease, give or take a half. Defaults to an hour.
	Lease time.Duration
	// Retention is how long records are kept beyond that. Defaults to 24 hours.
	Retention time.Duration
	// Pause is the longest that a client waits between two operations. Defaults to
	// 0: no waiting.
	Pause time.Duration
	// Timeout is the deadline of an operation. Defaults to ten seconds.
	Timeout time.Duration
	// Operators lets clients forget and revive keys, on stores that can.
	Operators bool
}

func (w Workload) withDefaults() Workload {
	w.Operations = cmp.Or(w.Operations, 1000)
	w.Keys = cmp.Or(w.Keys, 4)
	w.PerKey = cmp.Or(w.PerKey, 60)
	w.Lease = cmp.Or(w.Lease, time.Hour)
	w.Retention = cmp.Or(w.Retention, 24*time.Hour)
	w.Timeout = cmp.Or(w.Timeout, 10*time.Second)
	return w
}

// workloads keeps the keys of all workloads in a process apart.
var workloads atomic.Int64

// Traffic is a workload under way.
type Traffic struct {
	Workload
	namespace string
	begun     atomic.Int64 // operations so far

	mu   sync.Mutex
	keys []*topic // guarded by mu
}

// topic is a key and what clients did to it: copies may turn up at any client,
// as they may out of any network.
type topic struct {
	key claim.Key

	mu      sync.Mutex // guards the following
	sent    []claim.Op
	granted claim.Grant // the last one that a client heard of
}

// Start returns traffic with keys of its own.
func (w Workload) Start() *Traffic {
	return &Traffic{Workload: w.withDefaults(), namespace: fmt.Sprintf("histories-%d", workloads.Add(1))}
}

// Drive sets the Run of every client, so that together they do the workload.
func (t *Traffic) Drive(clients ...Client) []Client {
	all := make([]Client, len(clients))
	for i, c := range clients {
		c.Run = func(store claim.Store) { newActor(t, i, store).work() }
		all[i] = c
	}
	return all
}

// Probe returns a client that asks once for every key of the traffic, as a new
// claimant. After it, what the others left behind has been looked at.
func (t *Traffic) Probe(c Client) Client {
	c.Run = func(store claim.Store) {
		a := newActor(t, -1, store)
		for i := range t.topics() {
			v := a.at(i)
			a.send([]sending{{v, a.claim(v)}})
		}
	}
	return c
}

func (t *Traffic) topics() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys)
}

// topic returns the key with a number.
func (t *Traffic) topic(number int) *topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.keys) <= number {
		key, err := claim.NewKey(t.namespace, "consumer", claim.MessageID(fmt.Sprintf("message %d", len(t.keys))))
		if err != nil {
			panic(err) // the names are ours
		}
		t.keys = append(t.keys, &topic{key: key})
	}
	return t.keys[number]
}

func (p *topic) add(op claim.Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, op)
	if op.Verdict.Outcome == claim.Claimed {
		p.granted = op.Verdict.Grant
	}
}

// owner returns the last grant, zero when there was none.
func (p *topic) owner() claim.Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.granted
}

// any returns an operation that somebody sent, with the answer it has by now.
func (p *topic) any(rng *rand.Rand) (op claim.Op, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sent) == 0 {
		return op, false
	}
	return p.sent[rng.IntN(len(p.sent))], true
}

// token returns a token that the seed fixes.
func token(rng *rand.Rand) (t claim.Token) {
	binary.LittleEndian.PutUint64(t[:8], rng.Uint64())
	binary.LittleEndian.PutUint64(t[8:], rng.Uint64()|1)
	return t
}
