package kafkabus

import (
	"context"
	"time"
)

// leaveGrace is how long a handler has to return after its partition went.
const leaveGrace = time.Second

// without takes the partitions out of the session and returns those that had
// records.
func (s *session) without(m map[string][]int32) (gone []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, numbers := range m {
		for _, number := range numbers {
			key := topicPartition{topic, number}
			if p := s.partitions[key]; p != nil {
				gone = append(gone, p)
				delete(s.partitions, key)
			}
		}
	}
	return gone
}

// revoked lets the handlers of partitions that are taken away finish, commits
// what is settled, and lets the partitions go.
func (s *session) revoked(ctx context.Context, m map[string][]int32) {
	going := s.without(m)
	if len(going) == 0 {
		return
	}
	s.c.counts.revoked.Add(int64(len(going)))
	timer := time.NewTimer(s.c.opts.RevokeTimeout)
	defer timer.Stop()
	var late []*partition
	over := timer.C
	for _, p := range going {
		idle := p.close()
		if late != nil {
			late = append(late, p)
			continue
		}
		select {
		case <-idle:
		case <-over:
			late = append(late, p)
		case <-ctx.Done():
			late = append(late, p)
		}
	}
	if len(late) > 0 {
		for _, p := range late {
			p.cancel(ErrRevoked)
		}
		timer.Reset(leaveGrace)
		for i := 0; i < len(late); i++ {
			select {
			case <-late[i].idle:
			case <-timer.C:
				i = len(late)
			}
		}
	}
	s.committing.Lock()
	defer s.committing.Unlock()
	if err := s.commitOf(ctx, going); err != nil {
		s.c.opts.Logger.Warn("kafkabus: commit of partitions that are taken away failed; records come again", "error", err)
	}
	for _, p := range going {
		p.leave(ErrRevoked)
	}
	s.resume(going)
}

// lost lets partitions go that another member has already.
func (s *session) lost(m map[string][]int32) {
	gone := s.without(m)
	s.c.counts.lost.Add(int64(len(gone)))
	for _, p := range gone {
		p.leave(ErrPartitionLost)
	}
	s.resume(gone)
}

// resume ends the pauses of partitions that go: they may come back.
func (s *session) resume(gone []*partition) {
	paused := make(map[string][]int32)
	for _, p := range gone {
		paused[p.topic] = append(paused[p.topic], p.number)
	}
	if len(paused) > 0 {
		s.c.client.ResumeFetchPartitions(paused)
	}
}
