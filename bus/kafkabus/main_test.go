package kafkabus_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/kafkatest"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(workerEnv); text != "" {
		if err := runWorker(text); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Tests wait and hardly compute, so many go side by side on few cores. The
	// command line overrules it.
	_ = flag.Set("test.parallel", "32")
	goleak.VerifyTestMain(kafkatest.Tests(m))
}

// cluster is a Kafka cluster for tests.
type cluster struct {
	addrs []string
	fake  *kfake.Cluster // nil for a real one
}

// newCluster returns a fake one.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return &cluster{addrs: fake.ListenAddrs(), fake: fake}
}

// realCluster returns the one that the tests share.
func realCluster(t testing.TB) *cluster {
	t.Helper()
	return &cluster{addrs: []string{kafkatest.Start(t).Addr}}
}

// clusters runs a test on a fake and on a real cluster.
func clusters(t *testing.T, run func(t *testing.T, c *cluster)) {
	t.Helper()
	for name, start := range map[string]func(testing.TB) *cluster{"kfake": newCluster, "Kafka": realCluster} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, start(t))
		})
	}
}

// topic is one of a cluster, with a group of its own.
type topic struct {
	*cluster
	name, group string
	producer    *kgo.Client
}

var topics = make(chan int, 1)

func init() { topics <- 0 }

func (c *cluster) topic(t testing.TB, partitions int32) *topic {
	t.Helper()
	n := <-topics
	topics <- n + 1
	name := fmt.Sprintf("topic-%d", n)
	// A broker is told of a topic a little after it was made.
	producer := c.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(name), kgo.UnknownTopicRetries(-1))
	resp, err := kadm.NewClient(producer).CreateTopic(t.Context(), partitions, 1, nil, name)
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
	return &topic{cluster: c, name: name, group: "group-" + name, producer: producer}
}

func (c *cluster) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// open makes a member of the topic's group.
func (tp *topic) open(t testing.TB, o *kafkabus.Options, opts ...kgo.Opt) *kafkabus.Consumer {
	t.Helper()
	if o == nil {
		o = &kafkabus.Options{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ID == nil {
		o.ID = kafkabus.IDFromHeader("id")
	}
	c, err := kafkabus.New(o, append([]kgo.Opt{
		kgo.SeedBrokers(tp.addrs...), kgo.ConsumerGroup(tp.group), kgo.ConsumeTopics(tp.name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.HeartbeatInterval(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish appends records with these payloads, which are their ids and keys too.
func (tp *topic) publish(t testing.TB, partition int32, data ...string) {
	t.Helper()
	for _, d := range data {
		r := &kgo.Record{Partition: partition, Key: []byte(d), Value: []byte(d), Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(d)}}}
		if err := tp.producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// committed returns the group's offset of a partition, or -1.
func (tp *topic) committed(t testing.TB, partition int32) int64 {
	t.Helper()
	var offsets kadm.OffsetResponses
	until(t, func() (ok bool) { // a coordinator that has just started refuses at first
		var err error
		offsets, err = kadm.NewClient(tp.producer).FetchOffsets(t.Context(), tp.group)
		return err == nil
	})
	if o, ok := offsets.Lookup(tp.name, partition); ok {
		return o.At
	}
	return -1
}

// consume runs c.Consume until stop is called or the test ends, and closes c then.
func consume(t testing.TB, c *kafkabus.Consumer, h bus.Handler) (stop func()) {
	t.Helper()
	end := bustest.Background(t, func(ctx context.Context) error { return c.Consume(ctx, h) })
	stop = sync.OnceFunc(func() {
		if err := end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		c.Close()
	})
	t.Cleanup(stop)
	return stop
}

// until waits for cond as long as nothing but a failure takes.
func until(t testing.TB, cond func() bool) {
	t.Helper()
	untilWithin(t, 20*time.Second, cond)
}

func untilWithin(t testing.TB, limit time.Duration, cond func() bool) {
	t.Helper()
	tick, over := time.NewTicker(5*time.Millisecond), time.After(limit)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatal("waited in vain")
		}
	}
}
