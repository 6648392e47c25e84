package bustest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
)

var workerCases = []Case{
	{
		Name: "a panic is a failure",
		Why:  "one bad message must not end the process, nor be lost",
		run:  func(t T, h *Harness) { survives(t, h, func() { panic("on purpose") }) },
	},
	{
		Name: "a Goexit is a failure",
		Why:  "FailNow in a handler must not take a worker away in silence",
		run:  func(t T, h *Harness) { survives(t, h, runtime.Goexit) },
	},
	{
		Name: "as many at a time as there are workers",
		Why:  "fewer waste the machine, more break the handler's own limits",
		run: func(t T, h *Harness) {
			const workers, messages = 4, 16
			var running, most atomic.Int64
			full, done := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var left atomic.Int64
			left.Store(messages)
			consume(t, h, workers, func(_ context.Context, m *bus.Message) error {
				n := running.Add(1)
				defer running.Add(-1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				if n >= workers {
					once.Do(func() { close(full) })
				}
				awaitIn(t, h, full, "all workers to run at once")
				<-time.After(h.AckWait / 10) // leave one too many the time to come in
				if left.Add(-1) == 0 {
					close(done)
				}
				return nil
			})
			for i := range messages {
				publish(t, h, fmt.Sprint(i))
			}
			within(t, h, done, "all messages")
			if most.Load() > workers {
				t.Errorf("%d handlers ran at once, want at most %d", most.Load(), workers)
			}
		},
	},
	{
		Name: "one worker, one handler at a time",
		Why:  "a handler that is not safe for concurrent use asks for one worker",
		run: func(t T, h *Harness) {
			const messages = 50
			var running atomic.Int64
			var left atomic.Int64
			left.Store(messages)
			done := make(chan struct{})
			consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				if n := running.Add(1); n > 1 {
					t.Errorf("%d handlers run at once", n)
				}
				defer running.Add(-1)
				runtime.Gosched()
				if left.Add(-1) == 0 {
					close(done)
				}
				return nil
			})
			for i := range messages {
				publish(t, h, fmt.Sprint(i))
			}
			within(t, h, done, "all messages")
		},
	},
}

// survives shows that a message whose handler ends by leave comes again, and
// that the only worker goes on.
func survives(t T, h *Harness, leave func()) {
	var l log
	done := make(chan string, 4)
	consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
		if l.add(m) == 1 && name(m) == "bad" {
			leave()
		}
		done <- name(m)
		return nil
	})
	publish(t, h, "bad", "good")
	seen := make(map[string]bool)
	for len(seen) < 2 {
		seen[within(t, h, done, "the bad message again, and the good one")] = true
	}
}
