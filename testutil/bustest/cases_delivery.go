package bustest

import (
	"bytes"
	"context"
	"slices"

	"github.com/oncebus/once/bus"
)

// place is Message.Log and Sequence.
type place struct {
	log      string
	sequence uint64
}

// inOnePlace checks that all deliveries of the message n are from one place that
// is not in places, and adds it.
func (l *log) inOnePlace(t T, h *Harness, n string, places map[place]string) {
	t.Helper()
	if !h.Features.Place {
		return
	}
	m := l.of(n)[0].Message
	first := place{m.Log, m.Sequence}
	if first.log == "" {
		t.Errorf("%q has no Log", n)
	}
	for _, d := range l.of(n) {
		if moved := (place{d.Log, d.Sequence}); moved != first {
			t.Errorf("%q moved from place %v to %v", n, first, moved)
		}
	}
	if other, taken := places[first]; taken {
		t.Errorf("%q and %q share the place %v", n, other, first)
	}
	places[first] = n
}

var deliveryCases = []Case{
	{
		Name: "delivered byte for byte",
		Why:  "a handler and a payload hash must see what the publisher sent",
		run: func(t T, h *Harness) {
			binary := make([]byte, 256)
			for i := range binary {
				binary[i] = byte(i)
			}
			payloads := map[string][]byte{
				"nil": nil, "empty": {}, "text": []byte("hello"), "lines": []byte("a\r\n\r\nb\n"),
				"binary": binary, "large": bytes.Repeat([]byte("0123456789abcdef"), 4096),
			}
			header := bus.Header{"Kind": {"order"}, "Many": {"one", "two"}, "Empty": {""}}
			got := make(chan delivery, 2*len(payloads))
			consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				got <- delivery{Message: *m}
				return nil
			})
			for id, data := range payloads {
				if !h.Features.Header {
					header = nil
				}
				if err := h.Publish(t.Context(), id, header, data); err != nil {
					t.Fatalf("publish %q: %v", id, err)
				}
				m := within(t, h, got, "a message")
				if !bytes.Equal(m.Data, data) {
					t.Errorf("%s: %d bytes of data arrived, %d were sent, or they differ", id, len(m.Data), len(data))
				}
				for k, v := range header {
					if !slices.Equal(m.Header[k], v) {
						t.Errorf("%s: header %q is %q, want %q", id, k, m.Header[k], v)
					}
				}
				if h.Features.PublisherID && m.ID != id {
					t.Errorf("ID is %q, want %q", m.ID, id)
				}
				if h.Subject != "" && m.Subject != h.Subject {
					t.Errorf("%s: Subject is %q, want %q", id, m.Subject, h.Subject)
				}
				if h.Features.KeepAlive && m.AckWait != h.AckWait {
					t.Errorf("%s: AckWait is %v, want %v", id, m.AckWait, h.AckWait)
				}
				if has := m.KeepAlive != nil; has != h.Features.KeepAlive {
					t.Errorf("%s: has KeepAlive: %t, want %t", id, has, h.Features.KeepAlive)
				}
			}
		},
	},
	{
		Name:  "no id, no header",
		Why:   "an id must never be made up: a random one is new at each delivery and deduplicates nothing",
		needs: func(h *Harness) bool { return h.Features.PublisherID },
		run: func(t T, h *Harness) {
			got := make(chan delivery, 2)
			consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				got <- delivery{Message: *m}
				return nil
			})
			if err := h.Publish(t.Context(), "", nil, []byte("anonymous")); err != nil {
				t.Fatalf("publish: %v", err)
			}
			if m := within(t, h, got, "a message"); m.ID != "" {
				t.Errorf("ID is %q for a message that was sent without one", m.ID)
			}
		},
	},
	{
		Name:  "position",
		Why:   "a position that changes lets a redelivery through; one that repeats suppresses a message that never ran",
		needs: func(h *Harness) bool { return h.Features.Position },
		run: func(t T, h *Harness) {
			var l log
			done := make(chan struct{}, 3)
			stop := consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				if l.add(m) < 3 {
					return bus.RetryAfter(errPlain, 0)
				}
				done <- struct{}{}
				return nil
			})
			publish(t, h, "a", "b", "c")
			for range 3 {
				within(t, h, done, "the third deliveries")
			}
			stop()
			positions := make(map[string]string)
			places := make(map[place]string)
			for _, n := range []string{"a", "b", "c"} {
				first := l.of(n)[0].Position
				if first == "" {
					t.Errorf("%q has no position", n)
				}
				for _, d := range l.of(n) {
					if d.Position != first {
						t.Errorf("%q moved from position %q to %q", n, first, d.Position)
					}
				}
				if other, taken := positions[first]; taken {
					t.Errorf("%q and %q share the position %q", n, other, first)
				}
				positions[first] = n
				l.inOnePlace(t, h, n, places)
			}
		},
	},
	{
		Name:  "delivery count",
		Why:   "redelivery backoff and operators go by it",
		needs: func(h *Harness) bool { return h.Features.Delivery && h.Features.Redelivery },
		run: func(t T, h *Harness) {
			var l log
			done := make(chan struct{})
			stop := consume(t, h, 1, func(_ context.Context, m *bus.Message) error {
				switch l.add(m) {
				case 1:
					return errPlain
				case 2:
					return bus.RetryAfter(errPlain, 0)
				case 3:
					return bus.Abandon(errPlain)
				}
				close(done)
				return nil
			})
			publish(t, h, "counted")
			within(t, h, done, "the fourth delivery")
			stop()
			for i, d := range l.of("counted") {
				if d.Delivery != i+1 {
					t.Errorf("delivery %d says it is number %d", i+1, d.Delivery)
				}
			}
		},
	},
}
