package membus_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/membus"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b, err := membus.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Publish(ctx, bus.Message{ID: "order-7", Subject: "orders", Data: []byte("two apples")}); err != nil {
		log.Fatal(err)
	}
	err = b.Consume(ctx, func(ctx context.Context, m *bus.Message) error {
		fmt.Printf("delivery %d of %s: %s\n", m.Delivery, m.ID, m.Data)
		if m.Delivery == 1 {
			return bus.RetryAfter(errors.New("out of apples"), 0)
		}
		stop() // handlers that run may finish
		return nil
	}, &membus.ConsumeOptions{Workers: 1})
	fmt.Println(err, b.Pending())
	// Output:
	// delivery 1 of order-7: two apples
	// delivery 2 of order-7: two apples
	// <nil> 0
}

func ExampleBus_ConsumeBatch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b, err := membus.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := b.Publish(ctx, bus.Message{ID: id}); err != nil {
			log.Fatal(err)
		}
	}
	err = b.ConsumeBatch(ctx, func(ctx context.Context, batch []*bus.Message) []error {
		for _, m := range batch {
			fmt.Println(m.ID)
		}
		stop()
		return make([]error, len(batch)) // all processed
	}, &membus.ConsumeOptions{Workers: 1, BatchSize: 10})
	fmt.Println(err)
	// Output:
	// a
	// b
	// c
	// <nil>
}
