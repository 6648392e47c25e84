package redisbus_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/dedupe"
)

func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	consumer, err := redisbus.New(ctx, client, "orders", "billing", &redisbus.Options{
		CreateFrom: "0",
		Workers:    1,
		Logger:     quiet, // miniredis does not tell its settings
	})
	if err != nil {
		log.Fatal(err)
	}
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	once, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", Redelivery: consumer.Redelivery()})
	if err != nil {
		log.Fatal(err)
	}

	publisher, err := redisbus.NewPublisher(client, "orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	order := bus.Message{ID: "order-7", Data: []byte("two apples")}
	last := bus.Message{ID: "order-8", Data: []byte("a pear")}
	if err := publisher.Publish(ctx, order, order, last); err != nil {
		log.Fatal(err)
	}
	err = consumer.Consume(ctx, once.Wrap(func(ctx context.Context, m *bus.Message) error {
		fmt.Printf("%s: %s\n", m.ID, m.Data)
		if m.ID == last.ID {
			stop() // handlers that run may finish
		}
		return nil
	}))
	fmt.Println(err, consumer.Close(context.Background()), once.Close(context.Background()))
	// Output:
	// order-7: two apples
	// order-8: a pear
	// <nil> <nil> <nil>
}
