package natsbus_test

import (
	"context"
	"flag"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

func TestMain(m *testing.M) {
	// Tests wait for ack waits and hardly compute, so many go side by side on few
	// cores. The command line overrules it.
	_ = flag.Set("test.parallel", "64")
	goleak.VerifyTestMain(m)
}

// rig is a consumer on a server of its own.
type rig struct {
	server  *natstest.Server
	js      jetstream.JetStream
	cons    jetstream.Consumer
	subject string
}

func newRig(t *testing.T, cfg jetstream.ConsumerConfig) *rig {
	t.Helper()
	s := natstest.Run(t)
	js := s.JetStream()
	return rigOn(t, s, js, cfg)
}

func rigOn(t testing.TB, s *natstest.Server, js jetstream.JetStream, cfg jetstream.ConsumerConfig) *rig {
	t.Helper()
	cons := natstest.Consumer(t, js, cfg)
	return &rig{server: s, js: js, cons: cons, subject: natstest.Subject(cons.CachedInfo().Stream) + ".a"}
}

// open makes a natsbus.Consumer of the rig's consumer.
func (r *rig) open(t testing.TB, o *natsbus.Options) *natsbus.Consumer {
	t.Helper()
	if o == nil {
		o = &natsbus.Options{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := natsbus.New(t.Context(), r.js, r.cons, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish stores messages with these payloads, which are their ids too.
func (r *rig) publish(t testing.TB, data ...string) {
	t.Helper()
	for _, d := range data {
		if _, err := r.js.Publish(t.Context(), r.subject, []byte(d), jetstream.WithMsgID(d)); err != nil {
			t.Fatalf("publish %q: %v", d, err)
		}
	}
}

// consume runs c.Consume until stop is called or the test ends. stop returns its
// error.
func consume(t testing.TB, c *natsbus.Consumer, h bus.Handler) (stop func() error) {
	t.Helper()
	return bustest.Background(t, func(ctx context.Context) error { return c.Consume(ctx, h) })
}
