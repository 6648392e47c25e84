package dedupe

import (
	"context"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

const flightShards = 64

// flights knows the attempts that are between claim and settlement in this
// process, one for each key, so that a second delivery of a key does not ask the
// store about a claim that this process holds itself.
type flights struct {
	shards [flightShards]flightShard
}

type flightShard struct {
	mu      sync.Mutex
	leaders map[claim.Digest]*attempt

	// Neighbouring shards must not share a cache line.
	_ [64]byte
}

func newFlights() *flights {
	f := &flights{}
	for i := range f.shards {
		f.shards[i].leaders = map[claim.Digest]*attempt{}
	}
	return f
}

// join makes a the leader of its key, or says what there is instead: kin, the
// leader, if it is in the same batch, and otherwise, if a waits, a channel that is
// closed when the leader has left. Who became leader must leave. No other leader
// is handed out: it may be another message's attempt by the time it is looked at.
func (f *flights) join(a *attempt, waits bool) (leads bool, kin *member, landed <-chan struct{}) {
	digest := a.key.Digest()
	s := f.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	leader := s.leaders[digest]
	switch {
	case leader == nil:
		s.leaders[digest] = a
		return true, nil, nil
	case a.member != nil && leader.member != nil && a.member.batch == leader.member.batch:
		return false, leader.member, nil
	case waits && leader.landed == nil:
		leader.landed = make(chan struct{})
	}
	return false, nil, leader.landed
}

// leave ends the leadership of a and wakes who waits for it.
func (f *flights) leave(a *attempt) {
	digest := a.key.Digest()
	s := f.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaders, digest)
	if a.landed != nil {
		close(a.landed)
	}
}

// look calls see with the leader of a key, if there is one.
func (f *flights) look(digest claim.Digest, see func(leader *attempt)) {
	s := f.shard(digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if leader := s.leaders[digest]; leader != nil {
		see(leader)
	}
}

func (f *flights) shard(digest claim.Digest) *flightShard { return &f.shards[digest[0]%flightShards] }

// wait waits until landed is closed, and reports whether it is. It gives up after
// patience or when ctx ends.
func wait(ctx context.Context, landed <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-landed:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}
