package kafkabus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitTimeout bounds one commit.
const commitTimeout = 10 * time.Second

// commitNowAndThen commits until stopped is closed.
func (s *session) commitNowAndThen(stopped <-chan struct{}) {
	tick := time.NewTicker(s.c.opts.CommitInterval)
	defer tick.Stop()
	for {
		select {
		case <-stopped:
			return
		case <-tick.C:
			if err := s.commit(context.Background()); err != nil {
				s.c.opts.Logger.Warn("kafkabus: commit failed, it is tried again", "error", err)
			}
		}
	}
}

// commit commits what is settled in all partitions.
func (s *session) commit(ctx context.Context) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	return s.commitOf(ctx, s.all())
}

// commitOf commits what is settled. s.committing is held.
func (s *session) commitOf(ctx context.Context, ps []*partition) error {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	var asked []*partition
	for _, p := range ps {
		next, ok := p.toCommit()
		if !ok {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[p.topic][p.number] = next
		asked = append(asked, p)
	}
	if len(asked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var failed error
	s.c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = commitError(resp, err)
	})
	if failed == nil {
		s.c.counts.commits.Add(1)
		return nil
	}
	s.c.counts.commitsFailed.Add(1)
	for _, p := range asked {
		p.notCommitted()
	}
	return fmt.Errorf("kafkabus: commit: %w", failed)
}

// rewind forgets what was fetched and not committed, so that it is fetched again.
func (s *session) rewind() {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	for _, p := range s.all() {
		if next, ok := p.unfinished(); ok {
			if offsets[p.topic] == nil {
				offsets[p.topic] = make(map[int32]kgo.EpochOffset)
			}
			offsets[p.topic][p.number] = next
		}
		p.leave(nil)
	}
	if len(offsets) > 0 {
		s.c.client.SetOffsets(offsets)
	}
	s.resume(s.all())
}

// commitError returns why a commit failed, also for one partition.
func commitError(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || resp == nil {
		return err
	}
	var failed []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed = append(failed, fmt.Errorf("partition %d of %s: %w", p.Partition, t.Topic, err))
			}
		}
	}
	return errors.Join(failed...)
}
