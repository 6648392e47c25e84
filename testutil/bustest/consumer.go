package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
)

// errPlain is a failure that says nothing about the settlement.
var errPlain = errors.New("bustest: handler failed on purpose")

// marker is the payload of the message by which a case tells time; see
// forGood.
const marker = "marker"

// patience is how long a case waits for what must happen. It is long because it
// is only ever waited out by a failure.
func (h *Harness) patience() time.Duration { return 10*time.Second + 10*h.AckWait }

// within waits for ch and ends the case after the harness's patience. It is for
// the case's own goroutine.
func within[E any](t T, h *Harness, ch <-chan E, what string) E {
	t.Helper()
	e, ok := await(h, ch, nil)
	if !ok {
		t.Fatalf("waited %v for %s", h.patience(), what)
	}
	return e
}

// awaitIn is within for a handler's goroutine, which must not end the case. It
// gives up when the case has ended.
func awaitIn[E any](t T, h *Harness, ch <-chan E, what string) {
	t.Helper()
	if _, ok := await(h, ch, t.Context().Done()); !ok {
		t.Errorf("a handler waited %v for %s", h.patience(), what)
	}
}

// await waits for ch, or for it to be closed, as long as the harness's patience
// lasts and ended does not end.
func await[E any](h *Harness, ch <-chan E, ended <-chan struct{}) (e E, ok bool) {
	timer := time.NewTimer(h.patience())
	defer timer.Stop()
	select {
	case e = <-ch:
		return e, true
	case <-timer.C:
		return e, false
	case <-ended:
		return e, false
	}
}

// publish sends a message whose id and payload are data.
func publish(t T, h *Harness, data ...string) {
	t.Helper()
	for _, d := range data {
		if err := h.Publish(t.Context(), d, nil, []byte(d)); err != nil {
			t.Fatalf("publish %q: %v", d, err)
		}
	}
}

// start runs door, a Consume or ConsumeBatch, until stop is called or the case
// ends. stop waits until door returned and fails the case if that took too long
// or gave an error.
func start(t T, h *Harness, door func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- door(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		timer := time.NewTimer(h.patience() + h.DrainTimeout)
		defer timer.Stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Consume returned %v", err)
			}
		case <-timer.C:
			t.Errorf("Consume did not return after its context ended")
		}
	})
	t.Cleanup(stop)
	return stop
}

// consume starts the adapter.
func consume(t T, h *Harness, workers int, handler bus.Handler) (stop func()) {
	return start(t, h, func(ctx context.Context) error { return h.Consume(ctx, handler, workers) })
}

// delivery is what a case keeps of a message.
type delivery struct {
	bus.Message
	at time.Time
}

// name identifies a message of a case by its payload, which every bus carries.
func name(m *bus.Message) string { return string(m.Data) }

// log keeps the deliveries that a case saw, by name.
type log struct {
	mu   sync.Mutex
	seen map[string][]delivery
}

// add keeps m and returns how many times it was seen, this one included.
func (l *log) add(m *bus.Message) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string][]delivery)
	}
	l.seen[name(m)] = append(l.seen[name(m)], delivery{*m, time.Now()})
	return len(l.seen[name(m)])
}

// of returns the deliveries of the named message.
func (l *log) of(name string) []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[name]
}

// forGood shows that the messages a case has settled stay settled: it publishes
// the marker to a new consumer, which abandons it twice, and waits for its third
// delivery. Whatever was delivered before the marker and is not settled must come
// before that, even where both ack waits end in the same instant. It fails the
// case for any other message that comes. No other consumer may run.
func forGood(t T, h *Harness) {
	t.Helper()
	var l log
	third := make(chan struct{})
	stop := consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
		n := l.add(m)
		switch {
		case name(m) != marker:
			t.Errorf("%q was delivered again (delivery %d) after it was settled for good", name(m), m.Delivery)
		case n < 3:
			return bus.Abandon(errPlain)
		case n == 3:
			close(third)
		}
		return nil
	})
	publish(t, h, marker)
	within(t, h, third, "the third delivery of a message that was abandoned twice")
	stop()
}

// first settles the first delivery of a message by err and acks the later ones;
// it waits until there were n deliveries and returns them.
func first(t T, h *Harness, err error, n int) []delivery {
	t.Helper()
	var l log
	enough := make(chan struct{})
	stop := consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
		seen := l.add(m)
		if seen == n {
			close(enough)
		}
		if seen == 1 {
			return err
		}
		return nil
	})
	publish(t, h, "message")
	within(t, h, enough, fmt.Sprintf("%d deliveries of a message that was settled by %v", n, err))
	stop()
	return l.of("message")
}
