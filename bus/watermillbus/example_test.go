package watermillbus_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus/watermillbus"
	"github.com/oncebus/once/dedupe"
)

// Every message comes to both handlers of a router; each is charged by one of them.
func ExampleMiddleware() {
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	deduper, err := dedupe.New(store, &dedupe.Options{Consumer: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	defer deduper.Close(context.Background())
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		log.Fatal(err)
	}
	router.AddMiddleware(watermillbus.Middleware(deduper.Wrap, nil))
	charged := make(chan string)
	for _, name := range []string{"one", "two"} {
		router.AddConsumerHandler(name, "orders", pubsub, func(msg *message.Message) error {
			charged <- msg.UUID
			return nil
		})
	}
	ended := make(chan error)
	go func() { ended <- router.Run(context.Background()) }()
	<-router.Running()
	for _, id := range []string{"order-7", "order-8"} {
		if err := pubsub.Publish("orders", message.NewMessage(id, nil)); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-charged)
	}
	if err := errors.Join(router.Close(), <-ended, pubsub.Close()); err != nil {
		log.Fatal(err)
	}
	s := deduper.Stats()
	fmt.Println(s.Runs, "runs")
	// Output:
	// order-7
	// order-8
	// 2 runs
}
