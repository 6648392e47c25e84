package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/natstest"
)

// orders starts a server with the stream ORDERS, the consumer "billing" on it and
// two orders.
func orders(ctx context.Context) (js jetstream.JetStream, cons jetstream.Consumer, stop func()) {
	server, shutdown, err := natstest.Start()
	if err != nil {
		log.Fatal(err)
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		log.Fatal(err)
	}
	js, err = jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "ORDERS", Subjects: []string{"orders.*"}},
		{Name: "DEAD", Subjects: []string{"dead.>"}},
	} {
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			log.Fatal(err)
		}
	}
	for _, id := range []string{"order-1", "order-2"} {
		if _, err := js.Publish(ctx, "orders.new", []byte("two apples"), jetstream.WithMsgID(id)); err != nil {
			log.Fatal(err)
		}
	}
	cons, err = js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	return js, cons, func() {
		nc.Close()
		shutdown()
	}
}

// quiet keeps the findings about the example's stream, which has one replica, out
// of the way.
var quiet = slog.New(slog.DiscardHandler)

func ExampleConsumer_Consume() {
	ctx, stop := context.WithCancel(context.Background())
	js, cons, shutdown := orders(ctx)
	defer shutdown()

	c, err := natsbus.New(ctx, js, cons, &natsbus.Options{Workers: 1, Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Consume(ctx, func(ctx context.Context, m *bus.Message) error {
		fmt.Printf("%s on %s: %s\n", m.ID, m.Subject, m.Data)
		if m.ID == "order-2" {
			stop() // handlers that run may finish
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// order-1 on orders.new: two apples
	// order-2 on orders.new: two apples
	// <nil>
}

func ExampleConsumer_ConsumeBatch() {
	ctx, stop := context.WithCancel(context.Background())
	js, cons, shutdown := orders(ctx)
	defer shutdown()

	c, err := natsbus.New(ctx, js, cons, &natsbus.Options{BatchSize: 50, Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	err = c.ConsumeBatch(ctx, func(ctx context.Context, batch []*bus.Message) []error {
		errs := make([]error, len(batch))
		for i, m := range batch {
			fmt.Println(m.ID)
			if m.ID == "order-1" {
				errs[i] = bus.Reject(errors.New("no such customer"))
			}
		}
		stop()
		return errs
	})
	fmt.Println(err)
	// Output:
	// order-1
	// order-2
	// <nil>
}

// Code that calls the client's Consume itself changes in one line.
func ExampleConsumer_Handler() {
	ctx := context.Background()
	js, cons, shutdown := orders(ctx)
	defer shutdown()

	c, err := natsbus.New(ctx, js, cons, &natsbus.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	cc, err := cons.Consume(c.Handler(ctx, func(ctx context.Context, m *bus.Message) error {
		fmt.Println(m.ID)
		if m.ID == "order-2" {
			close(done)
		}
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	<-done
	cc.Drain()
	<-cc.Closed()
	// Output:
	// order-1
	// order-2
}

func ExampleDeadLetter() {
	ctx := context.Background()
	js, _, shutdown := orders(ctx)
	defer shutdown()

	sink, err := natsbus.DeadLetter(ctx, js, "dead.billing", nil)
	if err != nil {
		log.Fatal(err)
	}
	d := bus.DeadLetter{
		Message:  &bus.Message{ID: "order-1", Subject: "orders.new", Data: []byte("two apples")},
		ID:       "billing/order-1",
		Consumer: "billing",
		Reason:   "no such customer",
		Attempt:  5,
	}
	for range 2 { // the second is a copy of the first, and is not kept
		if err := sink(ctx, d); err != nil {
			log.Fatal(err)
		}
	}
	stream, err := js.Stream(ctx, "DEAD")
	if err != nil {
		log.Fatal(err)
	}
	kept, err := stream.GetLastMsgForSubject(ctx, "dead.billing")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d kept: %s of %s, %s\n", stream.CachedInfo().State.Msgs,
		kept.Data, kept.Header.Get(natsbus.HeaderOriginalID), kept.Header.Get(natsbus.HeaderReason))

	_, err = natsbus.DeadLetter(ctx, js, "nobody.listens", nil)
	fmt.Println(errors.Is(err, jetstream.ErrStreamNotFound))
	// Output:
	// 1 kept: two apples of order-1, no such customer
	// true
}

func ExampleCheck() {
	ctx := context.Background()
	js, _, shutdown := orders(ctx)
	defer shutdown()

	cons, err := js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "fragile", MaxDeliver: 5})
	if err != nil {
		log.Fatal(err)
	}
	findings, err := natsbus.Check(ctx, js, cons, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Println(f.Severity, f.Setting, f.Value)
	}
	// Output:
	// warn MaxDeliver 5
	// note stream Replicas 1
}
