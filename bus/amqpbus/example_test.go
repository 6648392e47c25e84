package amqpbus_test

import (
	"context"
	"fmt"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/dedupe"
)

func Example() {
	ctx := context.Background()
	client, err := amqpbus.Dial(ctx, nil, "amqp://guest:guest@localhost:5672/")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	c, err := amqpbus.New(ctx, client, "orders", &amqpbus.Options{
		Declare:    &amqpbus.Queue{Bindings: []amqpbus.Binding{{Exchange: "amq.topic", Key: "order.*"}}},
		RetryQueue: "orders.retry",
	})
	if err != nil {
		log.Fatal(err)
	}
	sink, err := amqpbus.DeadLetter(ctx, client, "", "orders.dead", nil)
	if err != nil {
		log.Fatal(err)
	}
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", DeadLetter: sink, Redelivery: c.Redelivery()})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close(ctx)
	if err := c.Consume(ctx, d.Wrap(func(_ context.Context, m *bus.Message) error {
		fmt.Println(m.ID)
		return nil
	})); err != nil {
		log.Fatal(err)
	}
}

func ExampleHandle() {
	d := amqp.Delivery{MessageId: "order-7", RoutingKey: "orders", Body: []byte("two apples")}
	s := amqpbus.Handle(context.Background(), &d, func(_ context.Context, m *bus.Message) error {
		fmt.Printf("%s on %s: %s\n", m.ID, m.Subject, m.Data)
		return nil
	})
	fmt.Println(s.Action)
	// Output:
	// order-7 on orders: two apples
	// ack
}
