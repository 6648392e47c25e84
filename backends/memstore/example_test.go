package memstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
)

// The three steps that package dedupe takes around a handler.
func Example() {
	ctx := context.Background()
	store, err := memstore.New(nil)
	if err != nil {
		panic(err)
	}
	key, err := claim.NewKey("shop", "billing", "order-4711")
	if err != nil {
		panic(err)
	}

	request := claim.Request{Token: claim.NewToken(), TTL: 30 * time.Second, Retention: 24 * time.Hour}
	verdict, err := store.TryClaim(ctx, key, request)
	if err != nil {
		panic(err)
	}
	fmt.Println(verdict.Outcome, "attempt", verdict.Grant.Attempt)

	// The handler runs here; then:
	completion := claim.Completion{Retention: 24 * time.Hour, Result: []byte("invoice 17")}
	if _, err := store.MarkDone(ctx, key, verdict.Grant, completion); err != nil {
		panic(err)
	}

	request.Token = claim.NewToken()
	duplicate, err := store.TryClaim(ctx, key, request)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%v with %q\n", duplicate.Outcome, duplicate.Result)
	// Output:
	// claimed attempt 1
	// done with "invoice 17"
}

// An operator finds the dead messages and lets one run again.
func ExampleStore_List() {
	ctx := context.Background()
	store, err := memstore.New(&memstore.Options{MaxRecords: 100_000})
	if err != nil {
		panic(err)
	}
	for _, id := range []claim.MessageID{"a", "b"} {
		key, err := claim.NewKey("shop", "billing", id)
		if err != nil {
			panic(err)
		}
		request := claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
		verdict, err := store.TryClaim(ctx, key, request)
		if err != nil {
			panic(err)
		}
		if id == "b" {
			if err := store.MarkDead(ctx, key, verdict.Grant, "no such customer"); err != nil {
				panic(err)
			}
		}
	}

	for cursor := ""; ; {
		page, next, err := store.List(ctx, claim.Filter{State: claim.StateDead}, cursor, 100)
		if err != nil {
			panic(err)
		}
		for _, entry := range page {
			fmt.Printf("%s %v: %s\n", entry.Key.ID(), entry.State, entry.Reason)
			if err := store.Revive(ctx, entry.Key, entry.Record); err != nil {
				panic(err)
			}
		}
		if next == "" {
			break
		}
		cursor = next
	}
	// Output: b dead: no such customer
}
