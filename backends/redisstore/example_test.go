package redisstore_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
)

func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	store, err := redisstore.New(ctx, client, &redisstore.Options{Prefix: "orders:", Logger: quiet})
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

	result := claim.Completion{Retention: 7 * 24 * time.Hour, Result: []byte("invoice 4711")}
	if _, err := store.MarkDone(ctx, key, first.Grant, result); err != nil {
		log.Fatal(err)
	}
	later, err := store.TryClaim(ctx, key, request())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v: %s\n", later.Outcome, later.Result)
	// Output:
	// claimed pending
	// done: invoice 4711
}
