package kafkabus_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
)

func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	c, err := kafkabus.New(nil,
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		panic(err)
	}
	defer c.Close()
	r := &kgo.Record{Topic: "orders", Value: []byte("4 apples"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("order-7")}}}
	if err := c.Client().ProduceSync(context.Background(), r).FirstErr(); err != nil {
		panic(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	err = c.Consume(ctx, func(_ context.Context, m *bus.Message) error {
		fmt.Printf("%s: %s\n", m.ID, m.Data)
		stop()
		return nil
	})
	fmt.Println(err)
	// Output:
	// order-7: 4 apples
	// <nil>
}
