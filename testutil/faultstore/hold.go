package faultstore

import (
	"context"
	"sync"

	"github.com/oncebus/once/claim"
)

// gate is a Hold.
type gate struct {
	kind claim.OpKind
	open chan struct{} // closed by the release

	mu       sync.Mutex
	released bool    // guarded by mu
	late     []*trip // given up by their callers, not yet landed; guarded by mu
}

// Hold stops operations of a kind on their way to the inner store, from now on
// and until release is called. An operation whose context ends meanwhile is
// answered ErrUnknown, and lands all the same when the hold is released: release
// carries those out itself, in the order in which they were given up, before it
// lets the waiting ones go. Calling release again does nothing.
func (s *Store) Hold(kind claim.OpKind) (release func()) {
	g := &gate{kind: kind, open: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates = append(s.gates, g)
	return func() { s.release(g) }
}

// Held returns how many trips wait at holds or wait to land late: a test that
// has no bubble of testing/synctest can tell by it that an operation has come.
func (s *Store) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

func (s *Store) release(g *gate) {
	for {
		g.mu.Lock()
		if g.released {
			g.mu.Unlock()
			return
		}
		if len(g.late) == 0 {
			g.released = true
			close(g.open)
			g.mu.Unlock()
			s.forgetGate(g)
			return
		}
		t := g.late[0]
		g.late = g.late[1:]
		g.mu.Unlock()
		t.land()
	}
}

func (s *Store) forgetGate(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.gates {
		if other == g {
			s.gates = append(s.gates[:i:i], s.gates[i+1:]...)
			return
		}
	}
}

// pass waits at the gate and reports whether the trip may go on. If not, the
// context has ended, and the trip lands when the gate is released.
func (g *gate) pass(ctx context.Context, t *trip) bool {
	select {
	case <-g.open:
		return true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return true
	}
	g.late = append(g.late, t.copy(ctx))
	return false
}
