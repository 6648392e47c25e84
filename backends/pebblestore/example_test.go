package pebblestore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/claim"
)

func Example() {
	dir, err := os.MkdirTemp("", "claims-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := pebblestore.Open(dir, &pebblestore.Options{Span: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	ctx := context.Background()
	key, err := claim.NewKey("shop", "billing", "order-17")
	if err != nil {
		log.Fatal(err)
	}
	request := claim.Request{Token: claim.NewToken(), TTL: 30 * time.Second, Retention: 7 * 24 * time.Hour}
	first, err := store.TryClaim(ctx, key, request)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.MarkDone(ctx, key, first.Grant, claim.Completion{Retention: 7 * 24 * time.Hour}); err != nil {
		log.Fatal(err)
	}
	later, err := store.TryClaim(ctx, key, request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Outcome, later.Outcome)
	// Output:
	// claimed done
}
