package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

// config is what the flags say.
type config struct {
	drill.Flags
	brokers    []string // of a fake cluster, unless the flag names others
	real       bool
	redis      string
	rebalances int
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{Flags: drill.Flags{
		Messages: 5000, Workers: 2,
		Trouble: drill.Trouble{Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Vanish: 0.005},
	}}
	fs := c.Define("kafka", stderr)
	var brokers string
	fs.StringVar(&brokers, "brokers", "", "`addresses` of Kafka brokers, host:port with commas between them; default is a fake cluster inside this program")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	fs.IntVar(&c.rebalances, "rebalances", 3, "how `often` the second process leaves the group and comes back")
	err := c.Parse(args, func(check drill.Check) {
		check(c.rebalances >= 0, "-rebalances is %d, want 0 or more", c.rebalances)
	})
	if c.real = brokers != ""; c.real {
		c.brokers = strings.Split(brokers, ",")
	}
	return c, err
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return drill.Status(err)
	}
	j := &job{config: c, ledger: ledger.New(), logger: c.Logger()}
	if j.server, err = servers.OpenRedis(c.redis, j.logger); err != nil {
		return c.Abort(err)
	}
	defer j.server.Close()
	if !c.real {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return c.Abort(fmt.Errorf("embedded kafka: %w", err))
		}
		defer fake.Close()
		c.brokers = fake.ListenAddrs()
	}
	if err := j.open(ctx); err != nil {
		return c.Abort(err)
	}
	defer j.clean()
	begun := time.Now()
	err = j.work(ctx)
	if len(j.processes) == 0 { // nothing to sum up
		return c.Abort(err)
	}
	return j.Finish(ctx, err, j.sumUp(time.Since(begun), err), j.ledger, stdout)
}

func (c *config) deadTopic() string { return c.Run + "-dead" }

func (c *config) clientOptions() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(c.brokers...)} }

// open makes the topics.
func (j *job) open(ctx context.Context) (err error) {
	// A broker is told of a topic a little after it was made.
	if j.kafka, err = kgo.NewClient(append(j.clientOptions(), kgo.DefaultProduceTopic(j.Run), kgo.UnknownTopicRetries(-1))...); err != nil {
		return fmt.Errorf("-brokers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for topic, n := range map[string]int32{j.Run: partitions, j.deadTopic(): 1} {
		if _, err = kadm.NewClient(j.kafka).CreateTopic(ctx, n, -1, nil, topic); err != nil {
			j.kafka.Close()
			return fmt.Errorf("-brokers: create a topic: %w", err)
		}
	}
	return nil
}

// clean leaves nothing of the run on servers that stay.
func (j *job) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	admin := kadm.NewClient(j.kafka)
	// The run is over: nobody could do anything about what fails.
	_, _ = admin.DeleteTopics(ctx, j.Run, j.deadTopic())
	_, _ = admin.DeleteGroups(ctx, j.Run)
	j.kafka.Close()
}

// publish sends the orders, and some of them again a hundred orders later, as a
// publisher does that missed an answer. Now and then the second process is away for
// a hundred orders.
func (j *job) publish(ctx context.Context) error {
	var again []*kgo.Record
	second, left := j.processes[1], 0
	for i := 0; (i < j.Messages || len(again) > 0) && ctx.Err() == nil; i += 100 {
		away := left < j.rebalances && i > j.Messages*(left+1)/(j.rebalances+1)
		if away {
			if err := j.members(ctx, 2); err != nil {
				return err
			}
			left++
			(*second.leave.Load())()
			if err := j.members(ctx, 1); err != nil {
				return err
			}
		}
		batch := again
		again = nil
		for n := i; n < min(i+100, j.Messages); n++ {
			id := fmt.Sprintf("order-%06d", n+1)
			batch = append(batch, order(id, n))
			j.ledger.Accept(id)
			if j.Trouble.Again(id) {
				again = append(again, order(id, n))
			}
		}
		// A batch that is given up half way would leave it open what is in the topic.
		if err := j.kafka.ProduceSync(context.WithoutCancel(ctx), batch...).FirstErr(); err != nil {
			return err
		}
		j.published += int64(len(batch))
		if away {
			second.back <- struct{}{}
		}
	}
	return nil
}

// members returns when the group has n.
func (j *job) members(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drill.Patience, drill.ErrStalled)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		groups, err := kadm.NewClient(j.kafka).DescribeGroups(ctx, j.Run)
		if g := groups[j.Run]; err == nil && g.Err == nil && g.State == "Stable" && len(g.Members) == n {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// order is a CloudEvent of one of a hundred customers.
func order(id string, n int) *kgo.Record {
	return &kgo.Record{
		Key:     fmt.Appendf(nil, "customer-%02d", n%100),
		Value:   fmt.Appendf(nil, `{"id":%q,"cents":%d}`, id, 100+n%9900),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(id)}},
	}
}

// settled returns when the group has committed everything. It returns an error when
// a process has ended, or when nothing moves any more.
func (j *job) settled(ctx context.Context, failed <-chan error) error {
	return drill.Settled(ctx, j.ledger, failed, func() (bool, error) {
		left, err := j.left(ctx)
		return left == 0, err
	})
}

// left returns how many records the group has not committed.
func (j *job) left(ctx context.Context) (n int64, err error) {
	admin := kadm.NewClient(j.kafka)
	ends, err := admin.ListEndOffsets(ctx, j.Run)
	if err != nil {
		return 0, err
	}
	committed, err := admin.FetchOffsets(ctx, j.Run)
	if err != nil {
		return 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		n += end.Offset
		if at, ok := committed.Lookup(end.Topic, end.Partition); ok && at.At > 0 {
			n -= at.At
		}
	})
	return n, ends.Error()
}

// deadLetters returns how many there are.
func (j *job) deadLetters(ctx context.Context) (n int64) {
	ends, err := kadm.NewClient(j.kafka).ListEndOffsets(ctx, j.deadTopic())
	if err != nil {
		return 0
	}
	ends.Each(func(end kadm.ListedOffset) { n += end.Offset })
	return n
}
