package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// extension is the lease of an attempt on its way to be extended. It has copies
// of what it needs, for the attempt may end meanwhile.
type extension struct {
	a         *attempt
	op        claim.Op // zero: no claim
	keepAlive func(context.Context) error
	busErr    error // of keepAlive
}

// collect ends what is over and returns what is due for extension.
func (k *keeper) collect() (due []*extension) {
	now := k.now()
	soon := now + k.lease/3/8
	for i := range k.shards {
		s := &k.shards[i]
		if s.wakeAt.Load() > int64(soon) {
			continue
		}
		s.mu.Lock()
		due = k.collectShard(s, now, due)
		s.unlock(k)
	}
	return due
}

// collectShard is collect for one shard. What is due within an eighth of its
// interval goes along, so that claims made at different moments leave together.
// The lock is held.
func (k *keeper) collectShard(s *keeperShard, now time.Duration, due []*extension) []*extension {
	wakeAt := never
	for i := 0; i < len(s.kept); {
		a := s.kept[i]
		l := &a.lease
		if cause := l.over(now); cause != nil {
			s.end(a, cause, false) // and another takes its place in the list
			continue
		}
		if !l.flying && l.next <= now+l.every/8 {
			l.flying = true
			e := &extension{a: a, keepAlive: l.keepAlive}
			if l.claimed {
				e.op = claim.Op{Kind: claim.OpExtend, Key: a.key, Grant: a.grant, TTL: k.lease}
			}
			due = append(due, e)
		}
		wakeAt = min(wakeAt, l.wakeAt())
		i++
	}
	s.wakeAt.Store(int64(wakeAt))
	return due
}

// send extends a batch of leases and notes the answers.
func (k *keeper) send(batch []*extension) {
	sent := k.now()
	// Less than the time until the next look, so that batches do not pile up on
	// a store that hangs.
	ctx, cancel := context.WithTimeout(context.Background(), k.lease/4)
	defer cancel()
	ops := make([]*claim.Op, 0, len(batch))
	for _, e := range batch {
		if e.op.Kind != 0 {
			ops = append(ops, &e.op)
		}
	}
	var buses sync.WaitGroup
	buses.Go(func() {
		for _, e := range batch {
			if e.keepAlive != nil {
				e.busErr = e.keepAlive(ctx)
			}
		}
	})
	if len(ops) > 0 {
		claim.Apply(ctx, k.store, ops)
	}
	buses.Wait()

	now := k.now()
	for _, e := range batch {
		s := k.shard(e.a)
		s.mu.Lock()
		e.a.lease.flying = false
		if e.a.lease.kept {
			k.extended(s, e, sent, now)
		}
		s.unlock(k)
	}
}

// extended notes the answers to e, which was sent at sent. The lock is held.
func (k *keeper) extended(s *keeperShard, e *extension, sent, now time.Duration) {
	l := &e.a.lease
	switch err := e.op.Err; {
	case e.op.Kind == 0:
		l.next = sent + l.every
	case err == nil:
		l.deadline = sent + k.lease - k.margin
		l.next = sent + l.every
	case errors.Is(err, claim.ErrLost):
		s.end(e.a, fmt.Errorf("%w: %w", ErrLeaseLost, err), true)
		return
	default:
		l.next = now + l.every/4
	}
	if e.busErr != nil {
		l.next = now + l.every/4
	} else if l.ackBy != 0 {
		l.ackBy = after(sent, l.ackWait)
	}
	s.lookAt(l.wakeAt())
}
