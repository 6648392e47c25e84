package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// open returns a Deduper on a store in memory, for the examples.
func open(o *dedupe.Options) *dedupe.Deduper {
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	o.Logger = quiet
	d, err := dedupe.New(store, o)
	if err != nil {
		log.Fatal(err)
	}
	return d
}

func Example() {
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close(context.Background())

	handler := d.Wrap(func(ctx context.Context, m *bus.Message) error {
		fmt.Printf("charge %s\n", m.Data)
		return nil
	})

	// The bus delivers the same message twice.
	for range 2 {
		err := handler(context.Background(), &bus.Message{ID: "order-7", Data: []byte("9.99")})
		fmt.Println(bus.SettlementOf(err).Action)
	}
	// Output:
	// charge 9.99
	// ack
	// ack
}

func ExampleDeduper_Do() {
	d := open(&dedupe.Options{Consumer: "mail"})
	defer d.Close(context.Background())
	for range 2 {
		r, err := d.Do(context.Background(), dedupe.ID("welcome/ada"), func(context.Context) ([]byte, error) {
			fmt.Println("send the mail")
			return []byte("sent as 4711"), nil
		})
		fmt.Printf("%s, duplicate %v, error %v\n", r.Bytes, r.Duplicate, err)
	}
	// Output:
	// send the mail
	// sent as 4711, duplicate false, error <nil>
	// sent as 4711, duplicate true, error <nil>
}

func ExampleDoJSON() {
	type receipt struct{ Number int }
	d := open(&dedupe.Options{Consumer: "billing"})
	defer d.Close(context.Background())
	for range 2 {
		v, r, err := dedupe.DoJSON(context.Background(), d, dedupe.ID("order-7"), func(context.Context) (receipt, error) {
			return receipt{Number: 4711}, nil
		})
		fmt.Println(v.Number, r.Duplicate, err)
	}
	// Output:
	// 4711 false <nil>
	// 4711 true <nil>
}

func ExampleDeduper_WrapBatch() {
	d := open(&dedupe.Options{Consumer: "stock"})
	defer d.Close(context.Background())
	handler := d.WrapBatch(func(ctx context.Context, batch []*bus.Message) []error {
		for _, m := range batch {
			fmt.Println("book", m.ID)
		}
		return make([]error, len(batch))
	})
	errs := handler(context.Background(), []*bus.Message{{ID: "a"}, {ID: "b"}, {ID: "a"}})
	fmt.Println(errs)
	// Output:
	// book a
	// book b
	// [<nil> <nil> <nil>]
}

func ExamplePermanent() {
	d := open(&dedupe.Options{
		Consumer: "billing",
		DeadLetter: func(_ context.Context, l bus.DeadLetter) error {
			fmt.Println("dead letter:", l.Message.ID, "because", l.Reason)
			return nil
		},
	})
	defer d.Close(context.Background())
	handler := d.Wrap(func(context.Context, *bus.Message) error {
		return dedupe.Permanent(errors.New("no such account"))
	})
	err := handler(context.Background(), &bus.Message{ID: "order-7"})
	fmt.Println(bus.SettlementOf(err).Action)
	// Output:
	// dead letter: order-7 because permanent: no such account
	// reject
}

func ExampleSetResult() {
	d := open(&dedupe.Options{
		Consumer: "quotes",
		OnDuplicate: func(_ context.Context, m *bus.Message, r dedupe.Result) error {
			fmt.Printf("reply once more: %s\n", r.Bytes)
			return nil
		},
	})
	defer d.Close(context.Background())
	handler := d.Wrap(func(ctx context.Context, m *bus.Message) error {
		dedupe.SetResult(ctx, []byte("42.00 EUR"))
		return nil
	})
	for range 2 {
		_ = handler(context.Background(), &bus.Message{ID: "quote-1"})
	}
	// Output:
	// reply once more: 42.00 EUR
}

func ExampleByCloudEvent() {
	d := open(&dedupe.Options{Consumer: "billing", Key: dedupe.ByCloudEvent})
	defer d.Close(context.Background())
	handler := d.Wrap(func(_ context.Context, m *bus.Message) error {
		fmt.Println("charge", m.ID)
		return nil
	})
	// The same event, published twice in two modes.
	for _, m := range []*bus.Message{
		{ID: "one", Header: bus.Header{"ce_id": {"7"}, "ce_source": {"/shop"}}},
		{ID: "two", Header: bus.Header{"content-type": {"application/cloudevents+json"}}, Data: []byte(`{"specversion":"1.0","id":"7","source":"/shop"}`)},
	} {
		fmt.Println(bus.SettlementOf(handler(context.Background(), m)).Action)
	}
	// Output:
	// charge one
	// ack
	// ack
}

func ExampleChildKey() {
	d := open(&dedupe.Options{Consumer: "billing", Backoff: func(int) time.Duration { return 0 }})
	defer d.Close(context.Background())
	handler := d.Wrap(func(ctx context.Context, m *bus.Message) error {
		fmt.Println(dedupe.AttemptFrom(ctx), dedupe.ChildKey(ctx, "charge"))
		return errors.New("card service is down")
	})
	for range 2 {
		_ = handler(context.Background(), &bus.Message{ID: "order-7"})
	}
	// Output:
	// 1 569f7e0b-322e-86cd-855f-f68658bf079b
	// 2 569f7e0b-322e-86cd-855f-f68658bf079b
}

func ExampleFenceFrom() {
	d := open(&dedupe.Options{Consumer: "stock"})
	defer d.Close(context.Background())
	var newest uint64 // as a downstream system keeps it, in the row that it guards
	handler := d.Wrap(func(ctx context.Context, m *bus.Message) error {
		fence := dedupe.FenceFrom(ctx)
		if fence < newest {
			return errors.New("a newer owner has written")
		}
		newest = fence
		return nil
	})
	fmt.Println(handler(context.Background(), &bus.Message{ID: "a"}), newest > 0)
	// Output:
	// <nil> true
}

func ExampleForMessage() {
	d := open(&dedupe.Options{Consumer: "stock"})
	defer d.Close(context.Background())
	handler := d.WrapBatch(func(ctx context.Context, batch []*bus.Message) []error {
		for _, m := range batch {
			fmt.Println(m.ID, "attempt", dedupe.AttemptFrom(dedupe.ForMessage(ctx, m)))
		}
		return make([]error, len(batch))
	})
	handler(context.Background(), []*bus.Message{{ID: "a"}, {ID: "b"}})
	// Output:
	// a attempt 1
	// b attempt 1
}

func ExampleDeduper_Revive() {
	d := open(&dedupe.Options{Consumer: "billing"})
	defer d.Close(context.Background())
	ctx := context.Background()
	broken := true
	handler := d.Wrap(func(context.Context, *bus.Message) error {
		if broken {
			return dedupe.Permanent(errors.New("no such account"))
		}
		fmt.Println("charged")
		return nil
	})
	m := &bus.Message{ID: "order-7"}
	_ = handler(ctx, m)
	fmt.Println(handler(ctx, m))

	// An operator repairs the account, looks at the record and revives it.
	broken = false
	entry, err := d.Inspect(ctx, dedupe.ID("order-7"))
	if err != nil || entry.State != claim.StateDead {
		log.Fatal(entry.State, err)
	}
	fmt.Println(entry.Reason)
	if err := d.Revive(ctx, dedupe.ID("order-7"), entry); err != nil {
		log.Fatal(err)
	}
	fmt.Println(handler(ctx, m), handler(ctx, m))
	// Output:
	// reject: dedupe: dead: permanent: no such account
	// permanent: no such account
	// charged
	// <nil> <nil>
}

func ExampleObserver() {
	d := open(&dedupe.Options{
		Consumer: "billing",
		Observer: &dedupe.Observer{
			Decided: func(_ context.Context, e dedupe.Decision) {
				fmt.Println("decided:", e.Outcome, "from memory:", e.Source == dedupe.FromMemory)
			},
			Settled: func(_ context.Context, e dedupe.Settled) { fmt.Println("settled:", e.Action) },
		},
	})
	defer d.Close(context.Background())
	handler := d.Wrap(func(context.Context, *bus.Message) error { return nil })
	for range 2 {
		_ = handler(context.Background(), &bus.Message{ID: "order-7"})
	}
	// Output:
	// decided: claimed from memory: false
	// settled: ack
	// decided: done from memory: true
	// settled: ack
}

func ExampleByHeader() {
	d := open(&dedupe.Options{Consumer: "billing", Key: dedupe.ByHeader("Event-Id")})
	defer d.Close(context.Background())
	handler := d.Wrap(func(context.Context, *bus.Message) error {
		fmt.Println("ran")
		return nil
	})
	m := &bus.Message{Header: bus.Header{"event-id": {"7"}}}
	fmt.Println(handler(context.Background(), m), handler(context.Background(), m))
	// Output:
	// ran
	// <nil> <nil>
}
