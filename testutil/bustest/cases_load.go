package bustest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
)

var loadCases = []Case{
	{
		Name:  "many messages, random endings, two consumers",
		Why:   "every message ends settled, none is lost and none comes again after that",
		needs: func(h *Harness) bool { return h.Features.Redelivery && h.Features.Delay && h.Features.Reject },
		run: func(t T, h *Harness) {
			const messages = 300
			c := &chaos{rng: rand.New(rand.NewPCG(1, 2)), left: messages, ended: make(map[string]bool), done: make(chan struct{})}
			var stops []func()
			for range 2 {
				stops = append(stops, consume(t, h, 8, func(_ context.Context, m *bus.Message) error {
					return c.handle(t, h, m)
				}))
			}
			for i := range messages {
				publish(t, h, fmt.Sprint(i))
			}
			within(t, h, c.done, "every message to end")
			for _, stop := range stops {
				stop()
			}
			forGood(t, h)
		},
	},
}

// chaos ends deliveries at random.
type chaos struct {
	mu    sync.Mutex // guards all
	rng   *rand.Rand
	left  int
	ended map[string]bool
	done  chan struct{}
}

func (c *chaos) handle(t T, h *Harness, m *bus.Message) error {
	c.mu.Lock()
	if c.ended[name(m)] {
		t.Errorf("%q was delivered (delivery %d) after it was settled for good", name(m), m.Delivery)
	}
	draw := c.rng.IntN(100)
	if forGood := draw >= 40; forGood && !c.ended[name(m)] {
		c.ended[name(m)] = true
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
	c.mu.Unlock()
	switch {
	case draw < 8:
		return errPlain
	case draw < 16:
		return bus.RetryAfter(errPlain, 0)
	case draw < 24:
		return bus.RetryAfter(errPlain, time.Duration(draw)*h.AckWait/50)
	case draw < 32:
		return bus.Abandon(errPlain)
	case draw < 36:
		panic("on purpose")
	case draw < 40:
		runtime.Goexit()
	case draw < 50:
		return bus.Reject(errPlain)
	}
	return nil
}
