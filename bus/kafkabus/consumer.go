package kafkabus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// ErrRevoked is the cause with which a handler's context ends when its partition
// was taken away and it did not return within Options.RevokeTimeout.
var ErrRevoked = errors.New("kafkabus: the partition was given to another member of the group")

// ErrPartitionLost is the cause with which a handler's context ends when its
// partition is another's already.
var ErrPartitionLost = errors.New("kafkabus: the partition was lost to another member of the group")

// Consumer is a member of a consumer group.
type Consumer struct {
	opts    Options
	client  *kgo.Client
	session atomic.Pointer[session] // of the Consume that runs
	counts  counts
	// reported says that the settings were checked, or are being.
	reported atomic.Bool
}

// counts are Stats as they are counted.
type counts struct {
	delivered, acked, retried, rejected, abandoned, forwarded, revoked, lost, commits, commitsFailed atomic.Int64
}

// Stats are counts since the Consumer was made.
type Stats struct {
	// Delivered is how many times records were handed to a handler.
	Delivered int64
	// Acked, Retried, Rejected and Abandoned say how that ended.
	Acked, Retried, Rejected, Abandoned int64
	// Forwarded is how many records went to the retry topic.
	Forwarded int64
	// Revoked is how many partitions were taken away in order, and Lost how many
	// without a word.
	Revoked, Lost int64
	// Commits is how many commits of offsets succeeded, CommitsFailed how many did
	// not; what they held is committed with the next.
	Commits, CommitsFailed int64
}

// New returns a member of the group that opts name, on a client of its own made
// with opts. They need kgo.ConsumerGroup and kgo.ConsumeTopics, and must not
// commit or hook into rebalances: that is the Consumer's to do. Set
// kgo.ConsumeResetOffset if records from before the group's first commit count,
// and kgo.FetchIsolationLevel(kgo.ReadCommitted()) where producers are
// transactional. The error names the option that is wrong. A nil o stands for the
// defaults.
//
// The member joins the group with the first Consume, and leaves it with Close.
func New(o *Options, opts ...kgo.Opt) (*Consumer, error) {
	checked, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Consumer{opts: checked}
	own := []kgo.Opt{
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) {
			if s := c.session.Load(); s != nil {
				s.revoked(ctx, m)
			}
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			if s := c.session.Load(); s != nil {
				s.lost(m)
			}
		}),
	}
	client, err := kgo.NewClient(append(append([]kgo.Opt(nil), opts...), own...)...)
	if err != nil {
		return nil, fmt.Errorf("kafkabus: options of the client, which need kgo.ConsumerGroup and kgo.ConsumeTopics: %w", err)
	}
	c.client = client
	if err := c.check(); err != nil {
		client.Close()
		return nil, err
	}
	return c, nil
}

// check looks at what the client was made with.
func (c *Consumer) check() error {
	if group, _ := c.client.OptValue(kgo.ConsumerGroup).(string); group == "" {
		return errors.New("kafkabus: the options name no group: add kgo.ConsumerGroup")
	}
	rebalance, _ := c.client.OptValue(kgo.RebalanceTimeout).(time.Duration)
	switch {
	case c.opts.RevokeTimeout == 0:
		c.opts.RevokeTimeout = rebalance / 2
	case c.opts.RevokeTimeout >= rebalance:
		return fmt.Errorf("kafkabus: Options.RevokeTimeout of %v is not less than the group's rebalance timeout of %v", c.opts.RevokeTimeout, rebalance)
	}
	return nil
}

// Client returns the client, for producing and for questions. It must not be
// polled or closed.
func (c *Consumer) Client() *kgo.Client { return c.client }

// Close leaves the group, unless the membership is static, and closes the client.
// Consume must have returned.
func (c *Consumer) Close() { c.client.CloseAllowingRebalance() }

// Redelivery returns what decides when a message comes again, as a deduplicator
// checks it: nothing, for Kafka has no ack wait and no limit, and how long a topic
// keeps its records is not known here.
func (c *Consumer) Redelivery() bus.Redelivery { return bus.Redelivery{} }

// Stats returns the counts so far.
func (c *Consumer) Stats() Stats {
	n := &c.counts
	return Stats{
		Delivered: n.delivered.Load(), Acked: n.acked.Load(), Retried: n.retried.Load(), Rejected: n.rejected.Load(),
		Abandoned: n.abandoned.Load(), Forwarded: n.forwarded.Load(), Revoked: n.revoked.Load(), Lost: n.lost.Load(),
		Commits: n.commits.Load(), CommitsFailed: n.commitsFailed.Load(),
	}
}
