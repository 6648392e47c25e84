//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus/kafkabus"
)

// kafkaPartitions is how many the topic of orders has.
const kafkaPartitions = 6

type kafkaOrders struct {
	client *kgo.Client
	admin  *kadm.Client
}

func connectKafka(addr string) (orders, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(streamName),
		kgo.UnknownTopicRetries(-1)) // a broker is told of a topic a little after it was made
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	return &kafkaOrders{client, kadm.NewClient(client)}, nil
}

func (o *kafkaOrders) close() { o.client.Close() }

func (o *kafkaOrders) setUp(ctx context.Context) error {
	if _, err := o.admin.CreateTopic(ctx, kafkaPartitions, 1, nil, streamName); err != nil {
		return err
	}
	_, err := o.admin.CreateTopic(ctx, 1, 1, nil, deadName)
	return err
}

func (o *kafkaOrders) send(ctx context.Context, ids []string) (again []string, err error) {
	records := make([]*kgo.Record, len(ids))
	for i, id := range ids {
		records[i] = &kgo.Record{Key: []byte(id), Value: []byte(id), Headers: []kgo.RecordHeader{{Key: HeaderOrder, Value: []byte(id)}}}
	}
	for _, r := range o.client.ProduceSync(ctx, records...) {
		if r.Err != nil {
			again = append(again, string(r.Record.Key))
		}
	}
	return again, ctx.Err()
}

func (o *kafkaOrders) left(ctx context.Context) (int, error) {
	ends, err := o.admin.ListEndOffsets(ctx, streamName)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return -1, err
	}
	committed, err := o.admin.FetchOffsets(ctx, consumerName)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return -1, err
	}
	left := 0
	ends.Each(func(end kadm.ListedOffset) {
		left += int(end.Offset)
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.At > 0 {
			left -= int(c.At)
		}
	})
	return left, nil
}

func (o *kafkaOrders) dead(ctx context.Context) (ids []string, err error) {
	ends, err := o.admin.ListEndOffsets(ctx, deadName)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	o.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{deadName: {0: kgo.NewOffset().AtStart()}})
	end, _ := ends.Lookup(deadName, 0)
	for len(ids) < int(end.Offset) {
		fetches := o.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		fetches.EachRecord(func(r *kgo.Record) { ids = append(ids, kafkabus.IDFromHeader(HeaderOrder)(r)) })
	}
	return ids, nil
}

// The timing of the group: a member that stands still loses its partitions before
// its leases have ended twice.
const (
	kafkaSession   = 1500 * time.Millisecond
	kafkaHeartbeat = 100 * time.Millisecond
)

// kafka consumes as a member of the group.
func (w *worker) kafka() (*source, error) {
	messages, err := kafkabus.New(&kafkabus.Options{
		Order: kafkabus.Unordered, Concurrency: w.Handlers, DrainTimeout: w.Drain, AbandonedAfter: ackWait,
		CommitInterval: 50 * time.Millisecond, RevokeTimeout: w.Lease, Logger: w.logger, ID: kafkabus.IDFromHeader(HeaderOrder),
	},
		kgo.SeedBrokers(w.Bus), kgo.ConsumerGroup(w.Durable), kgo.ConsumeTopics(w.Stream), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(kafkaSession), kgo.HeartbeatInterval(kafkaHeartbeat), kgo.FetchMaxWait(kafkaHeartbeat))
	if err != nil {
		return nil, err
	}
	sink, err := kafkabus.DeadLetter(messages.Client(), w.Dead, nil)
	if err != nil {
		messages.Close()
		return nil, err
	}
	return &source{messages.Consume, messages.Redelivery(), sink, messages.Close}, nil
}
