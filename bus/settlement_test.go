package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
)

var errTest = errors.New("card refused")

func TestSettlementOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want bus.Settlement // Err is checked below
	}{
		{"nil", nil, bus.Settlement{Action: bus.ActionAck}},
		{"plain", errTest, bus.Settlement{Action: bus.ActionRetry}},
		{"context", context.Canceled, bus.Settlement{Action: bus.ActionRetry}},
		{"retry after", bus.RetryAfter(errTest, time.Second), bus.Settlement{Action: bus.ActionRetry, Delay: time.Second, HasDelay: true}},
		{"retry at once", bus.RetryAfter(errTest, 0), bus.Settlement{Action: bus.ActionRetry, HasDelay: true}},
		{"retry in the past", bus.RetryAfter(errTest, -time.Second), bus.Settlement{Action: bus.ActionRetry, HasDelay: true}},
		{"retry of nothing", bus.RetryAfter(nil, time.Second), bus.Settlement{Action: bus.ActionRetry, Delay: time.Second, HasDelay: true}},
		{"reject", bus.Reject(errTest), bus.Settlement{Action: bus.ActionReject}},
		{"reject of nothing", bus.Reject(nil), bus.Settlement{Action: bus.ActionReject}},
		{"abandon", bus.Abandon(errTest), bus.Settlement{Action: bus.ActionAbandon}},
		{"abandon of nothing", bus.Abandon(nil), bus.Settlement{Action: bus.ActionAbandon}},
		{"wrapped", fmt.Errorf("order 7: %w", bus.Reject(errTest)), bus.Settlement{Action: bus.ActionReject}},
		{"joined", errors.Join(errTest, bus.Abandon(errTest)), bus.Settlement{Action: bus.ActionAbandon}},
		{"joined, the first counts", errors.Join(bus.Reject(errTest), bus.Abandon(errTest)), bus.Settlement{Action: bus.ActionReject}},
		{"the outermost counts", bus.RetryAfter(bus.Reject(errTest), time.Second), bus.Settlement{Action: bus.ActionRetry, Delay: time.Second, HasDelay: true}},
		{"the outermost counts, wrapped", bus.Abandon(fmt.Errorf("x: %w", bus.Reject(errTest))), bus.Settlement{Action: bus.ActionAbandon}},
	} {
		got := bus.SettlementOf(tt.err)
		if got.Err != tt.err {
			t.Errorf("%s: Err is %v, want the handler's error %v", tt.name, got.Err, tt.err)
		}
		if got.Err = nil; got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestSettlementErrorsKeepTheirCause(t *testing.T) {
	for _, err := range []error{bus.RetryAfter(errTest, time.Second), bus.Reject(errTest), bus.Abandon(errTest)} {
		if !errors.Is(err, errTest) {
			t.Errorf("%v hides its cause", err)
		}
	}
	for _, err := range []error{bus.RetryAfter(nil, 0), bus.Reject(nil), bus.Abandon(nil)} {
		if err == nil || err.Error() == "" {
			t.Errorf("%v: a settlement other than ack must be an error", err)
		}
	}
}

func TestActionString(t *testing.T) {
	for a, want := range map[bus.Action]string{
		bus.ActionAck: "ack", bus.ActionRetry: "retry", bus.ActionReject: "reject", bus.ActionAbandon: "abandon",
		0: "action(0)", 9: "action(9)",
	} {
		if got := a.String(); got != want {
			t.Errorf("%d: %q, want %q", a, got, want)
		}
	}
}
