package bustest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
)

type contextKey struct{}

var stopCases = []Case{
	{
		Name:  "stopping drains",
		Why:   "a deployment must not run the messages in hand twice",
		needs: redelivers,
		run: func(t T, h *Harness) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			runs, finish, returned := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			var deliveries atomic.Int64
			go func() {
				returned <- h.Consume(ctx, func(hctx context.Context, m *bus.Message) error {
					deliveries.Add(1)
					close(runs)
					awaitIn(t, h, finish, "the case to go on")
					return hctx.Err() // must be nil: what runs may finish
				}, 1)
			}()
			publish(t, h, "in hand")
			within(t, h, runs, "the handler")
			cancel()
			select {
			case err := <-returned:
				t.Errorf("Consume returned %v while a handler ran", err)
				returned <- nil
			case <-time.After(h.AckWait / 4):
			}
			close(finish)
			if err := within(t, h, returned, "Consume to return"); err != nil {
				t.Errorf("Consume returned %v after a clean stop", err)
			}
			forGood(t, h)
			if n := deliveries.Load(); n != 1 {
				t.Errorf("%d deliveries, want 1", n)
			}
		},
	},
	{
		Name: "nothing is delivered after the end",
		Why:  "the handler's database is closed by then",
		run: func(t T, h *Harness) {
			var ended atomic.Bool
			got := make(chan string, 8)
			stop := consume(t, h, 2, func(_ context.Context, m *bus.Message) error {
				if ended.Load() {
					t.Errorf("%q was delivered after Consume had returned", name(m))
				}
				got <- name(m)
				return nil
			})
			publish(t, h, "before")
			within(t, h, got, "a message")
			stop()
			ended.Store(true)

			publish(t, h, "after 1", "after 2")
			next := make(chan string, 8)
			consume(t, h, 2, func(_ context.Context, m *bus.Message) error {
				next <- name(m)
				return nil
			})
			seen := make(map[string]bool)
			for len(seen) < 2 {
				seen[within(t, h, next, "what was published while nobody consumed")] = true
			}
		},
	},
	{
		Name: "a context that has ended delivers nothing",
		Why:  "a program that is told to stop while it starts must not begin work",
		run: func(t T, h *Harness) {
			publish(t, h, "waiting")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := h.Consume(ctx, func(_ context.Context, m *bus.Message) error {
				t.Errorf("%q was delivered", name(m))
				return nil
			}, 1)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Consume returned %v", err)
			}
		},
	},
	{
		Name:  "handlers lose their context at the drain timeout",
		Why:   "a handler that hangs must learn that the program ends, and why",
		needs: func(h *Harness) bool { return h.DrainTimeout > 0 },
		run: func(t T, h *Harness) {
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "kept"))
			defer cancel()
			runs, cause := make(chan any, 1), make(chan error, 1)
			returned := make(chan error, 1)
			go func() {
				returned <- h.Consume(ctx, func(hctx context.Context, m *bus.Message) error {
					select {
					case runs <- hctx.Value(contextKey{}):
					default:
						return nil
					}
					awaitIn(t, h, hctx.Done(), "the handler's context to end")
					cause <- context.Cause(hctx)
					return nil
				}, 1)
			}()
			publish(t, h, "hanging")
			if v := within(t, h, runs, "the handler"); v != "kept" {
				t.Errorf("the handler's context has not the values of Consume's")
			}
			cancel()
			if err := within(t, h, cause, "the end of the handler's context"); !errors.Is(err, bus.ErrDrainTimeout) {
				t.Errorf("cause is %v, want bus.ErrDrainTimeout", err)
			}
			if err := within(t, h, returned, "Consume to return"); err != nil {
				t.Errorf("Consume returned %v although the handler returned", err)
			}
		},
	},
}
