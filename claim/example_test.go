package claim_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
)

func ExampleNewKey() {
	key, err := claim.NewKey("shop", "billing", "order-4711")
	if err != nil {
		panic(err)
	}
	// The id stays out of what is printed; the digest stands for it.
	fmt.Println(key)
	fmt.Printf("%+v\n", key)

	_, err = claim.NewKey("shop", "billing", "")
	fmt.Println(errors.Is(err, claim.ErrInvalid))
	// Output:
	// billing#0fbb8da84683a87ca27f0b7abbe51733
	// billing#0fbb8da84683a87ca27f0b7abbe51733
	// true
}

func ExampleToken() {
	// A token is a secret, and prints as a placeholder.
	fmt.Printf("%v %x\n", claim.NewToken(), claim.NewToken())
	// Output: (token) (token)
}

// A message that comes again with another payload is not the same message.
func ExampleFingerprintOf() {
	ctx := context.Background()
	store, err := memstore.New(nil)
	if err != nil {
		panic(err)
	}
	key, err := claim.NewKey("shop", "billing", "order-4711")
	if err != nil {
		panic(err)
	}
	for _, payload := range []string{"total: 10", "total: 99"} {
		verdict, err := store.TryClaim(ctx, key, claim.Request{
			Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour,
			Fingerprint: claim.FingerprintOf([]byte(payload)),
		})
		if err != nil {
			panic(err)
		}
		fmt.Println(verdict.Outcome)
	}
	// Output:
	// claimed
	// mismatch
}

// An owner that was too slow learns that its claim is another's.
func ExampleError() {
	ctx := context.Background()
	now := time.Now()
	store, err := memstore.New(&memstore.Options{Now: func() time.Time { return now }})
	if err != nil {
		panic(err)
	}
	key, err := claim.NewKey("shop", "billing", "order-4711")
	if err != nil {
		panic(err)
	}
	request := claim.Request{Token: claim.NewToken(), TTL: time.Second, Retention: time.Hour}
	slow, err := store.TryClaim(ctx, key, request)
	if err != nil {
		panic(err)
	}
	now = now.Add(2 * time.Second)
	request.Token = claim.NewToken()
	quick, err := store.TryClaim(ctx, key, request)
	if err != nil {
		panic(err)
	}
	fmt.Println("takeover:", quick.Takeover, "higher fence:", quick.Grant.Fence > slow.Grant.Fence)

	_, err = store.MarkDone(ctx, key, slow.Grant, claim.Completion{Retention: time.Hour})
	fmt.Println(err)
	fmt.Println(errors.Is(err, claim.ErrLost))
	// Output:
	// takeover: true higher fence: true
	// claim: MarkDone for consumer "billing": claim lost
	// true
}

// Many operations travel in one trip, and each has its own answer.
func ExampleApply() {
	ctx := context.Background()
	store, err := memstore.New(nil)
	if err != nil {
		panic(err)
	}
	var ops []*claim.Op
	for _, id := range []claim.MessageID{"a", "b", "a"} {
		key, err := claim.NewKey("shop", "billing", id)
		if err != nil {
			panic(err)
		}
		ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: claim.Request{
			Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}})
	}
	claim.Apply(ctx, store, ops)
	for _, op := range ops {
		fmt.Println(op.Key.ID(), op.Verdict.Outcome, op.Err)
	}
	// Output:
	// a claimed <nil>
	// b claimed <nil>
	// a pending <nil>
}
