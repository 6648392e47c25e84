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
	shards [flightShards]struct {
		mu      sync.Mutex
		leaders map[claim.Digest]*attempt
	}
}

func newFlights() *flights {
	f := &flights{}
	for i := range f.shards {
		f.shards[i].leaders = map[claim.Digest]*attempt{}
	}
	return f
}

// join makes a the leader of its key and returns nil, or returns the leader that
// there is. Who became leader must leave.
func (f *flights) join(a *attempt) (leader *attempt) {
	digest := a.key.Digest()
	s := &f.shards[digest[0]%flightShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if leader = s.leaders[digest]; leader == nil {
		s.leaders[digest] = a
	}
	return leader
}

// leave ends the leadership of a and wakes who waits for it.
func (f *flights) leave(a *attempt) {
	digest := a.key.Digest()
	s := &f.shards[digest[0]%flightShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaders, digest)
	a.left = true
	if a.landed != nil {
		close(a.landed)
	}
}

// wait waits until leader has left, and reports whether it has. It gives up after
// patience or when ctx ends.
func (f *flights) wait(ctx context.Context, leader *attempt, patience time.Duration) bool {
	digest := leader.key.Digest()
	s := &f.shards[digest[0]%flightShards]
	s.mu.Lock()
	if leader.left {
		s.mu.Unlock()
		return true
	}
	if patience <= 0 {
		s.mu.Unlock()
		return false
	}
	if leader.landed == nil {
		leader.landed = make(chan struct{})
	}
	landed := leader.landed
	s.mu.Unlock()

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
