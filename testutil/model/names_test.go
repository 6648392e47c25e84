package model

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestNamesMeanNothing gives the workers, tokens and fences of every reachable
// state other names, and wants the key to be the same and the keys of all that
// may come next. This is what allows a search to visit one state for each key.
func TestNamesMeanNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, cfg := range []Config{
		{Deliveries: 3, Workers: 3, Without: Failover},
		{Deliveries: 2, Workers: 2},
		{Deliveries: 2, Permanent: true, MaxAttempts: 2, Without: Failover},
	} {
		c := newChecker(cfg)
		c.search()
		for i := range c.nodes {
			s := c.nodes[i].state
			r := renamed(s, rng.Perm(c.cfg.Workers), rng.Perm(int(s.delivered)))
			if s.key() != r.key() {
				t.Fatalf("%+v\n%+v\nhave different keys", s, r)
			}
			if !slices.Equal(c.nextKeys(s), c.nextKeys(r)) {
				t.Fatalf("%+v\n%+v\nhave equal keys and lead to different ones", s, r)
			}
		}
		t.Logf("%d states", len(c.nodes))
	}
}

// renamed returns s with the workers and tokens in other places, and with fences
// that are farther apart.
func renamed(s state, workers, tokens []int) state {
	token := func(old uint8) uint8 {
		if old == 0 {
			return 0
		}
		return uint8(tokens[old-1]) + 1
	}
	fence := func(old uint8) uint8 {
		if old == 0 {
			return 0
		}
		return 2*old + 1
	}
	r := s
	for i := range s.delivered {
		a := s.attempts[i]
		a.fence = fence(a.fence)
		r.attempts[tokens[i]] = a
	}
	for i, to := range workers {
		w := s.workers[i]
		w.token = token(w.token)
		r.workers[to] = w
	}
	for _, rec := range []*record{&r.rec, &r.replica} {
		rec.token, rec.fence = token(rec.token), fence(rec.fence)
	}
	g := &r.ghost
	g.highest = fence(g.highest)
	g.live, g.ended, g.firm = token(g.live), token(g.ended), token(g.firm)
	return r
}

// nextKeys returns the keys of all states that may come after s, sorted.
func (c *checker) nextKeys(s state) []key {
	var keys []key
	for _, ev := range c.events(&s, nil) {
		o := c.fire(s, ev)
		keys = append(keys, o.next.key())
	}
	slices.SortFunc(keys, func(a, b key) int {
		if n := slices.Compare(a.attempts[:], b.attempts[:]); n != 0 {
			return n
		}
		return int(a.rest>>1) - int(b.rest>>1)
	})
	return keys
}
