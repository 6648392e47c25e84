package dedupe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/faultstore"
)

// TestNoIDOrPayloadIsShown takes a message with a secret id and payload through
// every ending and looks for them in the log, in the errors and in the events.
func TestNoIDOrPayloadIsShown(t *testing.T) {
	const id, payload = "secret-id-4711", "secret-payload"
	secret := func() *bus.Message {
		return &bus.Message{ID: id, Subject: "orders", Data: []byte(payload), Position: "orders:7", Delivery: 1}
	}
	succeed := func(context.Context, *bus.Message) error { return nil }
	fail := func(context.Context, *bus.Message) error { return errBoom }
	refuse := func(context.Context, *bus.Message) error { return dedupe.Permanent(errBoom) }
	shake := func(context.Context, *bus.Message) error { panic("ow") }
	stall := func(ctx context.Context, _ *bus.Message) error { <-ctx.Done(); return context.Cause(ctx) }
	for name, c := range map[string]struct {
		handlers []bus.Handler // one for each delivery
		faults   func(s *faultstore.Store)
		set      func(o *dedupe.Options)
	}{
		"done":           {handlers: []bus.Handler{succeed, succeed}},
		"failed":         {handlers: []bus.Handler{fail}},
		"panic":          {handlers: []bus.Handler{shake}},
		"permanent":      {handlers: []bus.Handler{refuse, succeed}},
		"exhausted":      {handlers: []bus.Handler{fail, succeed}, set: func(o *dedupe.Options) { o.MaxAttempts = 1 }},
		"max run":        {handlers: []bus.Handler{stall}, set: func(o *dedupe.Options) { o.MaxRun = lease }},
		"lease lost":     {handlers: []bus.Handler{stall}, faults: func(s *faultstore.Store) { s.On(claim.OpExtend, faultstore.Fail, faultstore.Always) }},
		"store down":     {handlers: []bus.Handler{succeed}, faults: func(s *faultstore.Store) { s.On(faultstore.Any, faultstore.LoseRequest, faultstore.Always) }},
		"commit unknown": {handlers: []bus.Handler{succeed, succeed}, faults: func(s *faultstore.Store) { s.On(claim.OpMarkDone, faultstore.LoseRequest, faultstore.Always) }},
		"commit lost":    {handlers: []bus.Handler{succeed}, faults: func(s *faultstore.Store) { s.Answer(claim.OpMarkDone, claim.ErrLost, 1) }},
		"corrupt":        {handlers: []bus.Handler{succeed}, faults: func(s *faultstore.Store) { s.Answer(claim.OpTryClaim, claim.Corrupt("a foreign value"), 1) }},
		"sink fails": {handlers: []bus.Handler{refuse}, set: func(o *dedupe.Options) {
			o.DeadLetter = func(context.Context, bus.DeadLetter) error { return errors.New("no space") }
		}},
		"id too long": {handlers: []bus.Handler{succeed}, set: func(o *dedupe.Options) {
			o.Key = func(m *bus.Message) (dedupe.Identity, error) {
				return dedupe.ID(strings.Repeat(m.ID, claim.MaxIDBytes)), nil
			}
		}},
		"mismatch": {handlers: []bus.Handler{succeed, succeed}, set: func(o *dedupe.Options) {
			n := 0
			o.Fingerprint = func(m *bus.Message) claim.Fingerprint {
				n++
				return claim.FingerprintOf(append(m.Data, byte(n)))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) {
				var shown sharedBuffer
				event := func(e any) { fmt.Fprintf(&shown, "%+v\n", e) }
				cut := faultstore.New(store)
				d := newDeduper(t, cut, func(o *dedupe.Options) {
					o.CommitTimeout, o.ClaimTimeout = lease, lease/4
					o.Logger = slog.New(slog.NewJSONHandler(&shown, &slog.HandlerOptions{Level: slog.LevelInfo}))
					o.Observer = &dedupe.Observer{
						Decided: func(_ context.Context, e dedupe.Decision) { event(e) },
						Ran:     func(_ context.Context, e dedupe.Run) { event(e) },
						Settled: func(_ context.Context, e dedupe.Settled) { event(e) },
					}
					if c.set != nil {
						c.set(o)
					}
				})
				if c.faults != nil {
					c.faults(cut)
				}
				for _, h := range c.handlers {
					err := d.Wrap(h)(t.Context(), secret())
					fmt.Fprintf(&shown, "%v\n", err)
					pass(time.Second)
				}
				if len(shown.String()) < 20 {
					t.Error("nothing was shown at all")
				}
				for _, s := range []string{id, payload} {
					if strings.Contains(shown.String(), s) {
						t.Errorf("%q is shown in:\n%s", s, shown.String())
					}
				}
			})
		})
	}
}

// sharedBuffer is a buffer that several goroutines write to.
type sharedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sharedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
