package redisbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

// Consumer is one consumer of a group. It is safe for concurrent use.
type Consumer struct {
	opts          Options
	client        redis.UniversalClient
	stream, group string
	enc           encoding
	findings      []bus.Finding
	longestBlock  time.Duration
	counts        counts

	// life counts how often the group was made anew. Acks of deliveries from
	// before are not sent: ids may come again.
	life atomic.Int64
	// floor is an id before which, by the last look, the group had nothing left to
	// settle; nil when not known.
	floor atomic.Pointer[string]
}

// counts are Stats as they are counted.
type counts struct {
	delivered, claimed, acked, retried, rejected, abandoned, returned,
	taken, deleted, stale, unsettled, trimmed, remade atomic.Int64
}

// Stats are counts since the Consumer was made.
type Stats struct {
	// Delivered is how many times messages were handed to a handler. Claimed were
	// taken over for that because nobody had kept them, this consumer's own among
	// them.
	Delivered, Claimed int64
	// Acked, Retried, Rejected and Abandoned say how that ended. Acks and
	// rejections count when the server has confirmed them.
	Acked, Retried, Rejected, Abandoned int64
	// Returned arrived while the consumer stopped and were given back.
	Returned int64
	// Taken waited here for a retry and were taken over by another consumer.
	Taken int64
	// Deleted were gone from the stream before they were settled: somebody trims it
	// or deletes from it.
	Deleted int64
	// Stale were settled after their group was lost.
	Stale int64
	// Unsettled were handled, but their ack was not confirmed; see ErrUnsettled.
	Unsettled int64
	// Trimmed is how many settled entries were removed from the stream.
	Trimmed int64
	// Remade is how many times the group was found missing and made anew.
	Remade int64
}

// New returns a consumer of the group on the stream, after a look at the server;
// see Check. It logs what it finds, and returns an error that wraps ErrRefused if
// the server loses messages by design, or ErrNoGroup. Options are checked first;
// the error names the one that is wrong. A nil o stands for the defaults.
//
// The client stays the caller's. It needs ContextTimeoutEnabled for deadlines to
// be kept, a connection for each Consume that runs, besides those that it would
// need anyway, and its ReadTimeout must be at least 100 ms.
func New(ctx context.Context, client redis.UniversalClient, stream, group string, o *Options) (*Consumer, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case client == nil:
		return nil, errors.New("redisbus: client is nil")
	case stream == "" || group == "":
		return nil, errors.New("redisbus: the name of the stream or the group is empty")
	}
	if opts.Name == "" {
		host, _ := os.Hostname() // the letters tell consumers apart
		opts.Name = host + "-" + rand.Text()[:8]
	}
	c := &Consumer{
		opts: opts, client: client, stream: stream, group: group,
		enc: encoding{opts.IDField, opts.DataField},
	}
	c.longestBlock = longestBlock(client)
	if c.findings, err = check(ctx, client, stream, &opts); err != nil {
		return nil, err
	}
	if err := bus.Report(ctx, c.opts.Logger, c.findings, ErrRefused, "stream", c.stream, "group", c.group); err != nil {
		return nil, err
	}
	return c, c.findGroup(ctx)
}

// findGroup looks for the group and makes it if that is asked for.
func (c *Consumer) findGroup(ctx context.Context) error {
	err := c.look(ctx)
	if !errors.Is(err, ErrNoGroup) || c.opts.CreateFrom == "" {
		return err
	}
	if err := c.create(ctx, c.opts.CreateFrom); err != nil {
		return err
	}
	return c.look(ctx)
}

// create makes the group, and the stream if there is none. That another consumer
// has made it meanwhile is fine.
func (c *Consumer) create(ctx context.Context, from string) error {
	err := c.client.XGroupCreateMkStream(ctx, c.stream, c.group, from).Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("redisbus: create group: %w", plain(err))
	}
	return nil
}

// look finds the group's floor. It returns ErrNoGroup when there is no such group.
func (c *Consumer) look(ctx context.Context) error {
	groups, err := c.client.XInfoGroups(ctx, c.stream).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return ErrNoGroup
		}
		return fmt.Errorf("redisbus: group info: %w", plain(err))
	}
	for _, g := range groups {
		if g.Name != c.group {
			continue
		}
		floor := g.LastDeliveredID
		// What is delivered after this moment has an id above the floor.
		pending, err := c.client.XPending(ctx, c.stream, c.group).Result()
		if err != nil {
			return fmt.Errorf("redisbus: pending entries: %w", plain(err))
		}
		if pending.Count > 0 && before(previous(pending.Lower), floor) {
			floor = previous(pending.Lower)
		}
		c.floor.Store(&floor)
		return nil
	}
	return ErrNoGroup
}

// remake makes a group anew that was lost while it was consumed: from the floor if
// the stream is still the one that had it, and else from the stream's start. life is
// that of the group that was found missing.
func (c *Consumer) remake(ctx context.Context, life int64) error {
	if c.opts.CreateFrom == "" {
		return ErrNoGroup
	}
	from := "0"
	if floor := c.floor.Load(); floor != nil {
		info, err := c.client.XInfoStream(ctx, c.stream).Result()
		switch {
		case err != nil && !strings.Contains(err.Error(), "no such key"):
			return fmt.Errorf("redisbus: stream info: %w", plain(err))
		case err == nil && !before(info.LastGeneratedID, *floor):
			from = *floor
		}
	}
	if err := c.create(ctx, from); err != nil {
		return err
	}
	if !c.life.CompareAndSwap(life, life+1) {
		return nil // noticed by another Consume of this consumer
	}
	c.counts.remade.Add(1)
	c.opts.Logger.Warn("redisbus: the group was lost and was made anew; what was being handled comes again", "stream", c.stream, "group", c.group)
	return nil
}

// Name returns the consumer's name in the group.
func (c *Consumer) Name() string { return c.opts.Name }

// Findings returns what New found, worst first.
func (c *Consumer) Findings() []bus.Finding { return append([]bus.Finding(nil), c.findings...) }

// Redelivery returns the consumer's settings as a deduplicator checks them. Redis
// has no limit of deliveries, and keeps entries until somebody removes them.
func (c *Consumer) Redelivery() bus.Redelivery { return bus.Redelivery{AckWait: c.opts.MinIdle} }

// Stats returns the counts so far.
func (c *Consumer) Stats() Stats {
	n := &c.counts
	return Stats{
		Delivered: n.delivered.Load(), Claimed: n.claimed.Load(), Acked: n.acked.Load(), Retried: n.retried.Load(),
		Rejected: n.rejected.Load(), Abandoned: n.abandoned.Load(), Returned: n.returned.Load(), Taken: n.taken.Load(),
		Deleted: n.deleted.Load(), Stale: n.stale.Load(), Unsettled: n.unsettled.Load(), Trimmed: n.trimmed.Load(),
		Remade: n.remade.Load(),
	}
}

// Close removes the consumer's name from the group, if nothing is pending under
// it: what was abandoned, or waits for a retry, stays for others to take over,
// and the name with it until Options.ForgetAfter. Consume must have returned.
// Close does not close the client.
func (c *Consumer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.AckTimeout)
	defer cancel()
	err := forgetScript.Run(ctx, c.client, []string{c.stream}, c.group, c.opts.Name).Err()
	if err != nil && !groupGone(err) {
		return fmt.Errorf("redisbus: close: %w", plain(err))
	}
	return nil
}

// forget removes the names of consumers that are gone and left nothing.
func (c *Consumer) forget(ctx context.Context) error {
	consumers, err := c.client.XInfoConsumers(ctx, c.stream, c.group).Result()
	if err != nil {
		return fmt.Errorf("redisbus: consumers: %w", plain(err))
	}
	args := []any{c.group}
	for _, other := range consumers {
		if other.Pending == 0 && other.Idle > c.opts.ForgetAfter && other.Name != c.opts.Name {
			args = append(args, other.Name)
		}
	}
	if len(args) == 1 {
		return nil
	}
	return plain(forgetScript.Run(ctx, c.client, []string{c.stream}, args...).Err())
}

// trim removes what all groups have settled.
func (c *Consumer) trim(ctx context.Context) error {
	n, err := trimScript.Run(ctx, c.client, []string{c.stream}).Int64()
	if err != nil {
		return fmt.Errorf("redisbus: trim: %w", plain(err))
	}
	c.counts.trimmed.Add(n)
	return nil
}
