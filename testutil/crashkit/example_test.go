package crashkit_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// shop is the code under test: its Handle is what production wraps.
type shop struct {
	payments interface {
		Charge(ctx context.Context, order, idempotencyKey string) error
	}
	mails interface {
		Send(ctx context.Context, order string) error
	}
}

func (s *shop) Handle(ctx context.Context, m *bus.Message) error {
	if err := s.payments.Charge(ctx, m.ID, dedupe.ChildKey(ctx, "charge")); err != nil {
		return err
	}
	return s.mails.Send(ctx, m.ID)
}

// fakePayments stands for a service that takes idempotency keys, fakeMails for
// one that does not.
type (
	fakePayments struct{ effects *crashkit.Effects }
	fakeMails    struct{ effects *crashkit.Effects }
)

func (f fakePayments) Charge(ctx context.Context, _, idempotencyKey string) error {
	return f.effects.HappenOnce(ctx, "charge", idempotencyKey)
}

func (f fakeMails) Send(ctx context.Context, _ string) error {
	return f.effects.Happen(ctx, "mail")
}

// TestCharge is all that a user writes: the handler with its fakes, and which
// effects may happen twice.
func TestCharge(t *testing.T) {
	effects := crashkit.NewEffects()
	effects.Tolerate("mail") // a second mail is a nuisance, a second charge is not
	s := &shop{payments: fakePayments{effects}, mails: fakeMails{effects}}
	crashkit.Run(t, nil, s.Handle, effects, &crashkit.Options{
		Message: &bus.Message{ID: "order-7", Subject: "orders", Data: []byte(`{"cents":995}`)},
	})
}

// A report as Run logs it, cut down to three scenarios. TestCharge, beside this
// example, makes one with all of them.
func Example() {
	count := func(happened int) []crashkit.Count {
		return []crashkit.Count{{Effect: "charge", Wanted: 1, Happened: happened, InTime: happened}}
	}
	report := &crashkit.Report{
		Effects: []crashkit.Effect{{Name: "charge", Guard: crashkit.Unguarded, Wanted: 1}},
		Rows: []crashkit.Row{
			{Scenario: "no fault", Struck: true, Runs: 1, Settled: bus.ActionAck, Counts: count(1)},
			{Point: "p3", Scenario: "crash before the handler starts", Struck: true, Runs: 2, Settled: bus.ActionAck, Counts: count(1)},
			{Point: "p5", Scenario: "crash before the commit is sent", Struck: true, Runs: 2, Settled: bus.ActionAck, Counts: count(2)},
		},
		Findings: []crashkit.Finding{{
			Kind: crashkit.KindDoubled, Effect: "charge", Fails: true,
			What:      `"charge" (unguarded) happens more than once in 1 of 3 scenarios`,
			Do:        `send dedupe.ChildKey(ctx, "charge") as the idempotency key`,
			Scenarios: []string{"p5 crash before the commit is sent"},
		}},
	}
	fmt.Print(report)
	fmt.Println()
	fmt.Println(report.Doubled("charge"))
	// Output:
	// 3 scenarios; effects: charge (unguarded)
	//
	// point  scenario                         runs  charge  verdict
	//        no fault                         1     1       ok
	// p3     crash before the handler starts  2     1       ok
	// p5     crash before the commit is sent  2     2!      DOUBLED charge
	//
	// FAIL  "charge" (unguarded) happens more than once in 1 of 3 scenarios
	//       do: send dedupe.ChildKey(ctx, "charge") as the idempotency key
	//
	// [p5 crash before the commit is sent]
}
