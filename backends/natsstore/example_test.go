package natsstore_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/backends/natsstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/natstest"
)

func Example() {
	server, stop, err := natstest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	nc, err := nats.Connect(server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, natsstore.StreamConfig("claims")); err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.New(ctx, js, "claims", nil)
	if err != nil {
		log.Fatal(err)
	}

	key, err := claim.NewKey("shop", "billing", "order-17")
	if err != nil {
		log.Fatal(err)
	}
	request := func() claim.Request {
		return claim.Request{Token: claim.NewToken(), TTL: 30 * time.Second, Retention: 24 * time.Hour}
	}
	first, err := store.TryClaim(ctx, key, request())
	if err != nil {
		log.Fatal(err)
	}
	second, err := store.TryClaim(ctx, key, request())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Outcome, second.Outcome)

	if _, err := store.MarkDone(ctx, key, first.Grant, claim.Completion{Retention: 7 * 24 * time.Hour}); err != nil {
		log.Fatal(err)
	}
	later, err := store.TryClaim(ctx, key, request())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(later.Outcome)
	// Output:
	// claimed pending
	// done
}
