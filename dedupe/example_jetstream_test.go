package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/natstest"
)

// consume runs charge once for each message of a consumer until ctx ends.
func consume(ctx context.Context, natsURL, redisAddr string, charge bus.Handler) error {
	nc, err := nats.Connect(natsURL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, "ORDERS", "billing")
	if err != nil {
		return err
	}
	messages, err := natsbus.New(ctx, js, consumer, nil)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true})
	defer client.Close()
	store, err := redisstore.New(ctx, client, nil)
	if err != nil {
		return err
	}
	once, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", Redelivery: messages.Redelivery()})
	if err != nil {
		return err
	}
	defer once.Close(context.Background())
	return messages.Consume(ctx, once.Wrap(charge))
}

func Example_jetStream() {
	server, stop, err := natstest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	memory, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer memory.Close()
	publish(server.URL(), "order-7")

	ctx, cancel := context.WithCancel(context.Background())
	err = consume(ctx, server.URL(), memory.Addr(), func(ctx context.Context, m *bus.Message) error {
		if dedupe.AttemptFrom(ctx) == 1 {
			fmt.Println(m.ID, "is not charged: the card service is down")
			return bus.RetryAfter(errors.New("card service is down"), 10*time.Millisecond)
		}
		fmt.Println(m.ID, "is charged:", string(m.Data))
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// order-7 is not charged: the card service is down
	// order-7 is charged: 9.99
	// <nil>
}

// publish makes the stream and the consumer of the example, and publishes an
// order.
func publish(natsURL, id string) {
	ctx := context.Background()
	nc, err := nats.Connect(natsURL)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		log.Fatal(err)
	}
	if _, err := js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{
		Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := js.Publish(ctx, "orders.new", []byte("9.99"), jetstream.WithMsgID(id)); err != nil {
		log.Fatal(err)
	}
}
