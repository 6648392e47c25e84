package bustest

import (
	"context"
	"fmt"
	"sync"

	"github.com/oncebus/once/bus"
)

func batches(h *Harness) bool { return h.ConsumeBatch != nil }

var batchCases = []Case{
	{
		Name:  "batch: each message is settled by its own error",
		Why:   "one failure in a batch must neither lose nor repeat the others",
		needs: func(h *Harness) bool { return batches(h) && h.Features.Redelivery && h.Features.Reject },
		run: func(t T, h *Harness) {
			outcomes := map[string]error{
				"ack": nil, "error": errPlain, "retry": bus.RetryAfter(errPlain, 0),
				"reject": bus.Reject(errPlain), "abandon": bus.Abandon(errPlain),
			}
			want := map[string]int{"ack": 1, "error": 2, "retry": 2, "reject": 1, "abandon": 2}
			seen := batchOutcomes(t, h, want, func(fresh map[string]bool, batch []*bus.Message, errs []error) []error {
				for i, m := range batch {
					if fresh[name(m)] {
						errs[i] = outcomes[name(m)]
					}
				}
				return errs
			})
			for n, w := range want {
				if seen[n] != w {
					t.Errorf("%q was delivered %d times, want %d", n, seen[n], w)
				}
			}
		},
	},
	{
		Name:  "batch: a panic fails all of it",
		Why:   "nobody knows which ones were finished",
		needs: func(h *Harness) bool { return batches(h) && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			batchOutcomes(t, h, map[string]int{"a": 2, "b": 2, "c": 2}, func(fresh map[string]bool, _ []*bus.Message, errs []error) []error {
				if len(fresh) > 0 {
					panic("on purpose")
				}
				return errs
			})
		},
	},
	{
		Name:  "batch: a wrong number of errors fails all of it",
		Why:   "a settlement must not be guessed",
		needs: func(h *Harness) bool { return batches(h) && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			batchOutcomes(t, h, map[string]int{"a": 2, "b": 2, "c": 2}, func(fresh map[string]bool, _ []*bus.Message, errs []error) []error {
				if len(fresh) > 0 {
					return errs[1:]
				}
				return errs
			})
		},
	},
	{
		Name:  "batch: not larger than asked",
		Why:   "the handler's statement has so many places",
		needs: batches,
		run: func(t T, h *Harness) {
			const size, messages = 3, 20
			for i := range messages {
				publish(t, h, fmt.Sprint(i))
			}
			got := make(chan int, messages)
			start(t, h, func(ctx context.Context) error {
				return h.ConsumeBatch(ctx, func(_ context.Context, batch []*bus.Message) []error {
					got <- len(batch)
					return make([]error, len(batch))
				}, size)
			})
			for n := 0; n < messages; {
				b := within(t, h, got, "a batch")
				if b < 1 || b > size {
					t.Errorf("a batch of %d, want 1 to %d", b, size)
				}
				n += b
			}
		},
	},
}

// final reports whether a message that is settled by err does not come again.
func final(err error) bool {
	a := bus.SettlementOf(err).Action
	return a == bus.ActionAck || a == bus.ActionReject
}

// batchOutcomes publishes a message for each key of want and hands the batches
// to outcome, with the names that were not seen before and room for the errors.
// It waits until each message was delivered at least as often as want says and is
// settled for good, shows that none comes after that, and returns how often each came.
func batchOutcomes(t T, h *Harness, want map[string]int, outcome func(fresh map[string]bool, batch []*bus.Message, errs []error) []error) map[string]int {
	for n := range want {
		publish(t, h, n)
	}
	var mu sync.Mutex // guards seen and settled
	seen, settled := make(map[string]int), make(map[string]bool)
	reached := func() bool {
		for n, w := range want {
			if seen[n] < w || !settled[n] {
				return false
			}
		}
		return true
	}
	done := make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	stop := start(t, h, func(ctx context.Context) error {
		return h.ConsumeBatch(ctx, func(_ context.Context, batch []*bus.Message) (errs []error) {
			mu.Lock()
			defer mu.Unlock()
			defer func() { // also when outcome panics
				for i, m := range batch {
					settled[name(m)] = len(errs) == len(batch) && final(errs[i])
				}
				if reached() {
					finish()
				}
			}()
			fresh := make(map[string]bool)
			for _, m := range batch {
				if seen[name(m)]++; seen[name(m)] == 1 {
					fresh[name(m)] = true
				}
			}
			return outcome(fresh, batch, make([]error, len(batch)))
		}, len(want))
	})
	within(t, h, done, fmt.Sprintf("deliveries %v", want))
	stop()
	forGood(t, h)
	return seen
}
