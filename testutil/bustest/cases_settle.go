package bustest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/bus"
)

func redelivers(h *Harness) bool { return h.Features.Redelivery }

var settleCases = []Case{
	{
		Name:  "ack is for good",
		Why:   "an ack that is lost runs the handler again",
		needs: redelivers,
		run: func(t T, h *Harness) {
			first(t, h, nil, 1)
			forGood(t, h)
		},
	},
	{
		Name: "an error is delivered again",
		Why:  "a failed message that is not retried is lost",
		run: func(t T, h *Harness) {
			first(t, h, errPlain, 2)
		},
	},
	{
		Name: "retry at once",
		Why:  "a delay of zero is an answer too, not the absence of one",
		run: func(t T, h *Harness) {
			first(t, h, bus.RetryAfter(errPlain, 0), 2)
		},
	},
	{
		Name:  "retry shorter than the ack wait",
		Why:   "a retry that comes early meets the claim that it was to wait for",
		needs: func(h *Harness) bool { return h.Features.Delay },
		run:   func(t T, h *Harness) { delayed(t, h, h.AckWait/2, bus.RetryAfter(errPlain, h.AckWait/2)) },
	},
	{
		Name:  "retry longer than the ack wait",
		Why:   "the ack wait must not cut a delay short",
		needs: func(h *Harness) bool { return h.Features.Delay },
		run:   func(t T, h *Harness) { delayed(t, h, 2*h.AckWait, bus.RetryAfter(errPlain, 2*h.AckWait)) },
	},
	{
		Name:  "reject is for good",
		Why:   "a message that nobody can process must not come for ever",
		needs: func(h *Harness) bool { return h.Features.Reject && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			first(t, h, bus.Reject(errPlain), 1)
			forGood(t, h)
		},
	},
	{
		Name:  "abandon says nothing",
		Why:   "an ack would lose the message, a nak would start another delivery beside its new owner",
		needs: redelivers,
		run: func(t T, h *Harness) {
			// The bus's clock started before the handler did, and on a busy
			// machine well before.
			again(t, h, h.AckWait*2/3, h.AckWait, bus.Abandon(errPlain))
		},
	},
	{
		Name:  "a wrapped settlement counts",
		Why:   "handlers add context to errors",
		needs: func(h *Harness) bool { return h.Features.Delay },
		run: func(t T, h *Harness) {
			d := h.AckWait / 2
			delayed(t, h, d, fmt.Errorf("order 7: %w", bus.RetryAfter(errPlain, d)))
		},
	},
	{
		Name:  "a joined settlement counts",
		Why:   "handlers join the errors of cleanups",
		needs: func(h *Harness) bool { return h.Features.Reject && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			first(t, h, errors.Join(errPlain, bus.Reject(errPlain)), 1)
			forGood(t, h)
		},
	},
	{
		Name:  "the outermost settlement wins",
		Why:   "middlewares overrule what they wrap",
		needs: func(h *Harness) bool { return h.Features.Reject && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			first(t, h, bus.Reject(bus.RetryAfter(errPlain, 0)), 1)
			forGood(t, h)
		},
	},
	{
		Name:  "a stale owner that abandons leaves the next one alone",
		Why:   "buses do not fence: any word of the first owner would settle the message of the second",
		needs: func(h *Harness) bool { return h.Features.Redelivery && h.Features.KeepAlive },
		run:   staleOwner,
	},
}

// delayed shows that a message that was settled by err, a retry, comes again after
// wait: not earlier, but for the inexactness of a bus's timers, and not much
// later.
func delayed(t T, h *Harness, wait time.Duration, err error) {
	t.Helper()
	again(t, h, wait-wait/10, wait, err)
}

// again shows that a message that was settled by err comes again, not before
// earliest and not much later than wait.
func again(t T, h *Harness, earliest, wait time.Duration, err error) {
	t.Helper()
	ds := first(t, h, err, 2)
	took := ds[1].at.Sub(ds[0].at)
	if late := wait + 2*h.AckWait + 2*time.Second; took < earliest || took > late {
		t.Errorf("came again after %v, want %v", took, wait)
	}
}

// staleOwner lets the first owner of a message outlive the ack wait, so that a
// second one gets it, and abandon it in mid-work of the second.
func staleOwner(t T, h *Harness) {
	var l log
	secondRuns, firstGone, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := consume(t, h, 2, func(ctx context.Context, m *bus.Message) error {
		switch l.add(m) {
		case 1:
			awaitIn(t, h, secondRuns, "the second delivery of a message that nobody settles")
			defer close(firstGone)
			return bus.Abandon(errPlain)
		case 2:
			close(secondRuns)
			awaitIn(t, h, firstGone, "the first owner's return")
			// The first worker is free now. Whatever its settlement did to the
			// message shows while this one works on for two ack waits.
			keepAlive(t, h, m, 2*h.AckWait)
			defer close(done)
		}
		return nil
	})
	publish(t, h, "contended")
	within(t, h, done, "the second owner's return")
	stop()
	if n := len(l.of("contended")); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
	forGood(t, h)
}
