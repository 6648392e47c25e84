package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/membus"
	"github.com/oncebus/once/testutil/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a harness of a correct bus.
func open(t testing.TB) *bustest.Harness {
	h, _ := openBus(t)
	return h
}

func openBus(t testing.TB) (*bustest.Harness, *membus.Bus) {
	const ackWait = 400 * time.Millisecond
	b, err := membus.New(&membus.Options{AckWait: ackWait, Backoff: bus.Exponential(time.Millisecond, 10*time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	return &bustest.Harness{
		Publish: func(ctx context.Context, id string, header bus.Header, data []byte) error {
			return b.Publish(ctx, bus.Message{ID: id, Subject: "test", Header: header, Data: data})
		},
		Consume: func(ctx context.Context, h bus.Handler, workers int) error {
			return b.Consume(ctx, h, &membus.ConsumeOptions{Workers: workers, DrainTimeout: 2 * ackWait})
		},
		ConsumeBatch: func(ctx context.Context, h bus.BatchHandler, size int) error {
			return b.ConsumeBatch(ctx, h, &membus.ConsumeOptions{Workers: 1, BatchSize: size, DrainTimeout: 2 * ackWait})
		},
		Subject:      "test",
		AckWait:      ackWait,
		DrainTimeout: 2 * ackWait,
		Features:     bustest.All(),
	}, b
}

// check runs every case in a bubble of its own, so that a failing adapter costs
// no real time, and returns the names of those that failed.
func check(t *testing.T, open func(t testing.TB) *bustest.Harness) map[string][]string {
	failures := make(map[string][]string)
	for _, c := range bustest.Cases() {
		synctest.Test(t, func(t *testing.T) {
			h := open(t)
			if !c.Applies(h) {
				return
			}
			if f := bustest.Record(t.Context(), func(t bustest.T) { c.Run(t, h) }); len(f) > 0 {
				failures[c.Name] = f
			}
		})
	}
	return failures
}

func TestACorrectAdapterPasses(t *testing.T) {
	for name, failures := range check(t, open) {
		t.Errorf("%s: %q", name, failures)
	}
}

func TestCheckRunsOnTheRealClockToo(t *testing.T) {
	for name, failures := range bustest.Check(t, open) {
		t.Errorf("%s: %q", name, failures)
	}
}

// An adapter that makes one mistake must fail the case that names it. Without
// these controls the suite could pass everything.
func TestWrongAdaptersFail(t *testing.T) {
	// wrap returns an adapter that changes what the handler sees or says.
	wrap := func(change func(h bus.Handler) bus.Handler) func(t testing.TB) *bustest.Harness {
		return func(t testing.TB) *bustest.Harness {
			h, _ := openBus(t)
			right := h.Consume
			h.Consume = func(ctx context.Context, handler bus.Handler, workers int) error {
				return right(ctx, change(handler), workers)
			}
			return h
		}
	}
	// says returns an adapter that changes the handler's error.
	says := func(change func(s bus.Settlement, err error) error) func(t testing.TB) *bustest.Harness {
		return wrap(func(h bus.Handler) bus.Handler {
			return func(ctx context.Context, m *bus.Message) (err error) {
				err = h(ctx, m)
				return change(bus.SettlementOf(err), err)
			}
		})
	}
	// shows returns an adapter that changes the message.
	shows := func(change func(m *bus.Message)) func(t testing.TB) *bustest.Harness {
		return wrap(func(h bus.Handler) bus.Handler {
			return func(ctx context.Context, m *bus.Message) error {
				change(m)
				return h(ctx, m)
			}
		})
	}
	errAny := errors.New("any")
	for _, tt := range []struct {
		name string
		open func(t testing.TB) *bustest.Harness
		want []string // cases that must fail, among others
	}{
		{
			name: "acks whatever happens",
			open: says(func(bus.Settlement, error) error { return nil }),
			want: []string{"an error is delivered again", "abandon says nothing", "retry at once"},
		},
		{
			name: "acks before the handler",
			open: wrap(func(h bus.Handler) bus.Handler {
				return func(ctx context.Context, m *bus.Message) error {
					go func() {
						defer func() { _ = recover() }()
						_ = h(ctx, m)
					}()
					return nil
				}
			}),
			want: []string{"an error is delivered again", "a panic is a failure", "one worker, one handler at a time"},
		},
		{
			name: "acks what was rejected and nothing else for good",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionAck {
					return bus.Abandon(errAny)
				}
				return err
			}),
			want: []string{"ack is for good"},
		},
		{
			name: "retries what was rejected",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionReject {
					return errAny
				}
				return err
			}),
			want: []string{"reject is for good", "a joined settlement counts"},
		},
		{
			name: "naks what was abandoned",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionAbandon {
					return bus.RetryAfter(errAny, 0)
				}
				return err
			}),
			want: []string{"abandon says nothing", "a stale owner that abandons leaves the next one alone"},
		},
		{
			name: "acks what was abandoned",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionAbandon {
					return nil
				}
				return err
			}),
			want: []string{"abandon says nothing"},
		},
		{
			name: "ignores the delay of a retry",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionRetry {
					return bus.RetryAfter(errAny, 0)
				}
				return err
			}),
			want: []string{"retry shorter than the ack wait", "retry longer than the ack wait", "a wrapped settlement counts"},
		},
		{
			name: "cuts a delay at the ack wait",
			open: says(func(s bus.Settlement, err error) error {
				if s.Action == bus.ActionRetry && s.HasDelay {
					return bus.RetryAfter(errAny, min(s.Delay, 400*time.Millisecond))
				}
				return err
			}),
			want: []string{"retry longer than the ack wait"},
		},
		{
			name: "reads only the error itself",
			open: wrap(func(h bus.Handler) bus.Handler {
				return func(ctx context.Context, m *bus.Message) error {
					err := h(ctx, m)
					if wrapped := errors.Unwrap(err); err != nil && bus.SettlementOf(wrapped).HasDelay {
						return errAny
					}
					return err
				}
			}),
			want: []string{"a wrapped settlement counts"},
		},
		{
			name: "makes up an id",
			open: shows(func(m *bus.Message) {
				if m.ID == "" {
					m.ID = "made up"
				}
			}),
			want: []string{"no id, no header"},
		},
		{
			name: "position is the delivery's",
			open: shows(func(m *bus.Message) { m.Position += fmt.Sprint(m.Delivery) }),
			want: []string{"position"},
		},
		{
			name: "position is the topic's",
			open: shows(func(m *bus.Message) { m.Position = "topic" }),
			want: []string{"position"},
		},
		{
			name: "place is the delivery's",
			open: shows(func(m *bus.Message) { m.Sequence += uint64(m.Delivery) }),
			want: []string{"position"},
		},
		{
			name: "all have one place",
			open: shows(func(m *bus.Message) { m.Sequence = 1 }),
			want: []string{"position"},
		},
		{
			name: "does not count deliveries",
			open: shows(func(m *bus.Message) { m.Delivery = 1 }),
			want: []string{"delivery count"},
		},
		{
			name: "cuts payloads",
			open: shows(func(m *bus.Message) { m.Data = m.Data[:min(len(m.Data), 1000)] }),
			want: []string{"delivered byte for byte"},
		},
		{
			name: "drops headers",
			open: shows(func(m *bus.Message) { m.Header = nil }),
			want: []string{"delivered byte for byte"},
		},
		{
			name: "keep-alive does nothing",
			open: shows(func(m *bus.Message) { m.KeepAlive = func(context.Context) error { return nil } }),
			want: []string{"keep-alive holds a long handler"},
		},
		{
			name: "runs one more than there are workers",
			open: func(t testing.TB) *bustest.Harness {
				h := open(t)
				right := h.Consume
				h.Consume = func(ctx context.Context, handler bus.Handler, workers int) error {
					return right(ctx, handler, workers+1)
				}
				return h
			},
			want: []string{"as many at a time as there are workers", "one worker, one handler at a time"},
		},
		{
			name: "runs one at a time always",
			open: func(t testing.TB) *bustest.Harness {
				h := open(t)
				right := h.Consume
				h.Consume = func(ctx context.Context, handler bus.Handler, _ int) error { return right(ctx, handler, 1) }
				return h
			},
			want: []string{"as many at a time as there are workers"},
		},
		{
			name: "cancels handlers when it stops",
			open: func(t testing.TB) *bustest.Harness {
				h := open(t)
				right := h.Consume
				h.Consume = func(ctx context.Context, handler bus.Handler, workers int) error {
					return right(ctx, func(_ context.Context, m *bus.Message) error { return handler(ctx, m) }, workers)
				}
				return h
			},
			want: []string{"stopping drains"},
		},
		{
			name: "does not wait for handlers when it stops",
			open: func(t testing.TB) *bustest.Harness {
				h := open(t)
				right := h.Consume
				h.Consume = func(ctx context.Context, handler bus.Handler, workers int) error {
					go right(ctx, handler, workers)
					<-ctx.Done()
					return nil
				}
				return h
			},
			want: []string{"stopping drains"},
		},
		{
			name: "drops after two deliveries",
			open: func(t testing.TB) *bustest.Harness {
				h := open(t)
				var b *membus.Bus
				b, err := membus.New(&membus.Options{AckWait: h.AckWait, MaxDeliver: 2})
				if err != nil {
					t.Fatal(err)
				}
				h.Publish = func(ctx context.Context, id string, header bus.Header, data []byte) error {
					return b.Publish(ctx, bus.Message{ID: id, Subject: "test", Header: header, Data: data})
				}
				h.Consume = func(ctx context.Context, handler bus.Handler, workers int) error {
					return b.Consume(ctx, handler, &membus.ConsumeOptions{Workers: workers, DrainTimeout: h.DrainTimeout})
				}
				return h
			},
			want: []string{"delivery count", "many messages, random endings, two consumers"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failures := check(t, tt.open)
			for _, name := range tt.want {
				if _, failed := failures[name]; !failed {
					t.Errorf("passed %q", name)
				}
			}
			t.Logf("failed %d cases", len(failures))
		})
	}
}

func TestCasesAreNamedAndExplained(t *testing.T) {
	var names []string
	for _, c := range bustest.Cases() {
		if c.Name == "" || c.Why == "" {
			t.Errorf("case %q: why %q", c.Name, c.Why)
		}
		if slices.Contains(names, c.Name) {
			t.Errorf("two cases are named %q", c.Name)
		}
		names = append(names, c.Name)
	}
}
