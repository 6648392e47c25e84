package bus_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/bus"
)

func TestGuardEndsOnceWhateverHappens(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func() error
		want func(error) bool
	}{
		{"nil", func() error { return nil }, func(err error) bool { return err == nil }},
		{"error", func() error { return errTest }, func(err error) bool { return err == errTest }},
		{"panic", func() error { panic("boom") }, func(err error) bool {
			var p *bus.PanicError
			return errors.As(err, &p) && p.Value == "boom" && strings.Contains(string(p.Stack), "handler_test.go")
		}},
		{"panic with an error", func() error { panic(errTest) }, func(err error) bool {
			var p *bus.PanicError
			return errors.As(err, &p) && p.Value == errTest
		}},
		{"panic with nil", func() error { panic(nil) }, func(err error) bool { return err != nil && !errors.Is(err, bus.ErrGoexit) }},
		{"goexit", func() error { runtime.Goexit(); return nil }, func(err error) bool { return errors.Is(err, bus.ErrGoexit) }},
		{"goexit in a deferred call", func() error { defer runtime.Goexit(); return nil }, func(err error) bool { return errors.Is(err, bus.ErrGoexit) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ends []error
			done := make(chan struct{})
			go func() {
				defer close(done)
				bus.Guard(tt.run, func(err error) { ends = append(ends, err) })
			}()
			<-done
			if len(ends) != 1 || !tt.want(ends[0]) {
				t.Errorf("ended with %v", ends)
			}
		})
	}
}

func TestPanicIsARetryWhateverItWasThrownWith(t *testing.T) {
	err := &bus.PanicError{Value: bus.Reject(errTest), Stack: []byte("stack")}
	if !strings.Contains(err.Error(), errTest.Error()) {
		t.Errorf("%q does not name the value", err)
	}
	if a := bus.SettlementOf(err).Action; a != bus.ActionRetry {
		t.Errorf("settled as %v, want a retry", a)
	}
}

func TestServe(t *testing.T) {
	m := &bus.Message{ID: "m"}
	for name, tt := range map[string]struct {
		h    bus.Handler
		want bus.Action
	}{
		"ack":    {func(context.Context, *bus.Message) error { return nil }, bus.ActionAck},
		"reject": {func(context.Context, *bus.Message) error { return bus.Reject(nil) }, bus.ActionReject},
		"panic":  {func(context.Context, *bus.Message) error { panic("boom") }, bus.ActionRetry},
	} {
		var got []bus.Settlement
		bus.Serve(t.Context(), tt.h, m, func(s bus.Settlement) { got = append(got, s) })
		if len(got) != 1 || got[0].Action != tt.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestServeBatch(t *testing.T) {
	batch := []*bus.Message{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for _, tt := range []struct {
		name  string
		h     bus.BatchHandler
		want  []bus.Action
		cause error
	}{
		{name: "each its own", h: func(context.Context, []*bus.Message) []error {
			return []error{nil, bus.Reject(errTest), errTest}
		}, want: []bus.Action{bus.ActionAck, bus.ActionReject, bus.ActionRetry}},
		{name: "too few", h: func(context.Context, []*bus.Message) []error { return []error{nil, nil} },
			want: []bus.Action{bus.ActionRetry, bus.ActionRetry, bus.ActionRetry}, cause: bus.ErrBatchResult},
		{name: "none", h: func(context.Context, []*bus.Message) []error { return nil },
			want: []bus.Action{bus.ActionRetry, bus.ActionRetry, bus.ActionRetry}, cause: bus.ErrBatchResult},
		{name: "too many", h: func(context.Context, []*bus.Message) []error { return make([]error, 4) },
			want: []bus.Action{bus.ActionRetry, bus.ActionRetry, bus.ActionRetry}, cause: bus.ErrBatchResult},
		{name: "panic", h: func(context.Context, []*bus.Message) []error { panic(bus.Reject(errTest)) },
			want: []bus.Action{bus.ActionRetry, bus.ActionRetry, bus.ActionRetry}},
	} {
		var indexes []int
		var got []bus.Action
		bus.ServeBatch(t.Context(), tt.h, batch, func(i int, s bus.Settlement) {
			indexes, got = append(indexes, i), append(got, s.Action)
			if tt.cause != nil && !errors.Is(s.Err, tt.cause) {
				t.Errorf("%s: cause %v, want %v", tt.name, s.Err, tt.cause)
			}
		})
		if !slices.Equal(indexes, []int{0, 1, 2}) || !slices.Equal(got, tt.want) {
			t.Errorf("%s: settled %v as %v, want %v", tt.name, indexes, got, tt.want)
		}
	}
}

func ExampleServe() {
	handle := func(_ context.Context, m *bus.Message) error {
		if m.ID == "" {
			return bus.Reject(errors.New("a message needs an id"))
		}
		panic("nobody expects this")
	}
	for _, m := range []*bus.Message{{}, {ID: "7"}} {
		bus.Serve(context.Background(), handle, m, func(s bus.Settlement) {
			fmt.Printf("%v: %v\n", s.Action, s.Err)
		})
	}
	// Output:
	// reject: reject: a message needs an id
	// retry: bus: handler panicked: nobody expects this
}

func ExampleSettlementOf() {
	err := fmt.Errorf("order 7: %w", bus.Reject(errors.New("no such customer")))
	fmt.Println(bus.SettlementOf(nil).Action)
	fmt.Println(bus.SettlementOf(err).Action)
	fmt.Println(bus.SettlementOf(errors.New("timeout")).Action)
	// Output:
	// ack
	// reject
	// retry
}
