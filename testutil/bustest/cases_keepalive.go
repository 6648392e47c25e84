package bustest

import (
	"context"
	"time"

	"github.com/oncebus/once/bus"
)

// keepAlive extends m, often enough, for d.
func keepAlive(t T, h *Harness, m *bus.Message, d time.Duration) {
	tick := time.NewTicker(h.AckWait / 4)
	defer tick.Stop()
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		select {
		case <-tick.C:
			if err := m.KeepAlive(t.Context()); err != nil {
				t.Errorf("KeepAlive: %v", err)
			}
		case <-end.C:
			return
		}
	}
}

var keepAliveCases = []Case{
	{
		Name:  "keep-alive holds a long handler",
		Why:   "work longer than the ack wait would run twice, side by side",
		needs: func(h *Harness) bool { return h.Features.KeepAlive },
		run: func(t T, h *Harness) {
			var l log
			done := make(chan struct{})
			stop := consume(t, h, 2, func(_ context.Context, m *bus.Message) error {
				if l.add(m) == 1 {
					keepAlive(t, h, m, 3*h.AckWait)
					close(done)
				}
				return nil
			})
			publish(t, h, "long")
			within(t, h, done, "the handler's end")
			stop()
			if n := len(l.of("long")); n != 1 {
				t.Errorf("%d deliveries, want 1", n)
			}
			forGood(t, h)
		},
	},
	{
		Name:  "keep-alive after the settlement does nothing",
		Why:   "a heartbeat that comes late must not postpone the retry",
		needs: func(h *Harness) bool { return h.Features.KeepAlive && h.Features.Delay },
		run: func(t T, h *Harness) {
			var l log
			returned, again := make(chan delivery, 1), make(chan struct{})
			consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				if l.add(m) > 1 {
					close(again)
					return nil
				}
				returned <- delivery{Message: *m}
				return bus.RetryAfter(errPlain, h.AckWait)
			})
			publish(t, h, "late heartbeat")
			m := within(t, h, returned, "the first delivery")
			tick := time.NewTicker(h.AckWait / 8)
			defer tick.Stop()
			for range 80 { // ten ack waits, if the retry never comes
				select {
				case <-again:
					return
				case <-tick.C:
					if err := m.KeepAlive(t.Context()); err != nil {
						t.Errorf("KeepAlive after the settlement: %v", err)
					}
				}
			}
			t.Errorf("the retry did not come while the settled delivery was kept alive")
		},
	},
}
