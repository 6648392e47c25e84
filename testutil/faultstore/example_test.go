package faultstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
)

// A reply is lost, and the repetition of the claim gets the grant that the
// first one made.
func Example() {
	ctx := context.Background()
	inner, err := memstore.New(nil)
	if err != nil {
		panic(err)
	}
	store := faultstore.New(inner)
	store.On(claim.OpTryClaim, faultstore.LoseReply, 1)

	key, err := claim.NewKey("", "billing", "order-4711")
	if err != nil {
		panic(err)
	}
	request := claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
	_, err = store.TryClaim(ctx, key, request)
	fmt.Println("unknown:", errors.Is(err, claim.ErrUnknown))

	verdict, err := store.TryClaim(ctx, key, request)
	fmt.Println(verdict.Outcome, "attempt", verdict.Grant.Attempt, err)
	// Output:
	// unknown: true
	// claimed attempt 1 <nil>
}
