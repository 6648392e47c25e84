package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// singles carries the operations that callers make one at a time. Where there
// are several servers each has a Combiner: in a common flight, one that hangs
// would hold up the keys of all.
type singles struct {
	// common is for what has one server, and for keys whose server is not known.
	common *claim.Combiner
	// divided says that there are others.
	divided bool
	open    func() (*claim.Combiner, error)

	mu     sync.RWMutex
	byAddr map[string]*claim.Combiner // of servers that have gone too: there are few
}

func (s *Store) setSingles(o *Options) (err error) {
	settings := claim.CombinerOptions{MaxBatch: o.MaxBatch}
	if o.NoCombining {
		settings.MaxBatch = 1
	}
	s.singles.open = func() (*claim.Combiner, error) { return claim.NewCombiner(s, &settings) }
	s.singles.divided = s.routed && !s.together && settings.MaxBatch > 1
	s.singles.byAddr = make(map[string]*claim.Combiner)
	s.singles.common, err = s.singles.open()
	return err
}

// combiner returns what carries an operation on key.
func (s *Store) combiner(ctx context.Context, key claim.Key) *claim.Combiner {
	if !s.singles.divided {
		return s.singles.common
	}
	node := s.nodeOf(ctx, string(s.names.append(nil, key)))
	if node == nil {
		return s.singles.common
	}
	return s.singles.at(node.Options().Addr)
}

// at returns the Combiner of a server.
func (l *singles) at(addr string) *claim.Combiner {
	l.mu.RLock()
	c := l.byAddr[addr]
	l.mu.RUnlock()
	if c != nil {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c = l.byAddr[addr]; c == nil {
		if c, _ = l.open(); c == nil {
			return l.common
		}
		l.byAddr[addr] = c
	}
	return c
}

// TryClaim implements claim.Store.
func (s *Store) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	return s.combiner(ctx, key).TryClaim(ctx, key, req)
}

// Extend implements claim.Store.
func (s *Store) Extend(ctx context.Context, key claim.Key, grant claim.Grant, ttl time.Duration) error {
	return s.combiner(ctx, key).Extend(ctx, key, grant, ttl)
}

// MarkDone implements claim.Store.
func (s *Store) MarkDone(ctx context.Context, key claim.Key, grant claim.Grant, c claim.Completion) (recovered bool, err error) {
	return s.combiner(ctx, key).MarkDone(ctx, key, grant, c)
}

// MarkDead implements claim.Store.
func (s *Store) MarkDead(ctx context.Context, key claim.Key, grant claim.Grant, reason string) error {
	return s.combiner(ctx, key).MarkDead(ctx, key, grant, reason)
}

// Release implements claim.Store.
func (s *Store) Release(ctx context.Context, key claim.Key, grant claim.Grant, delay time.Duration) error {
	return s.combiner(ctx, key).Release(ctx, key, grant, delay)
}

// Forget implements claim.Inspector.
func (s *Store) Forget(ctx context.Context, key claim.Key, seen claim.Record) error {
	return s.combiner(ctx, key).Forget(ctx, key, seen)
}

// Revive implements claim.Inspector.
func (s *Store) Revive(ctx context.Context, key claim.Key, seen claim.Record) error {
	return s.combiner(ctx, key).Revive(ctx, key, seen)
}
