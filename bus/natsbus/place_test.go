package natsbus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

func TestPlacesAreAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Minute})
	r.publish(t, "m")
	for _, asked := range []bool{false, true} {
		got := make(chan bus.Message, 1)
		stop := consume(t, r.open(t, &natsbus.Options{Places: asked}), func(_ context.Context, m *bus.Message) error {
			got <- *m
			if !asked {
				return bus.RetryAfter(errors.New("again"), 0)
			}
			return nil
		})
		m := bustest.Within(t, got, "the message")
		if err := stop(); err != nil {
			t.Error(err)
		}
		stream := r.cons.CachedInfo().Stream
		if asked && (!strings.HasPrefix(m.Log, stream+"@") || m.Sequence != 1) || !asked && m.Log != "" {
			t.Errorf("asked %t: place %q %d", asked, m.Log, m.Sequence)
		}
	}
}

func TestPlacesInAStreamInMemoryAreRefused(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream()
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MEMORY", Subjects: []string{"m"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	cons, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = natsbus.New(t.Context(), js, cons, &natsbus.Options{Places: true})
	if !errors.Is(err, natsbus.ErrRefused) || !strings.Contains(err.Error(), "Options.Places") {
		t.Errorf("error %v", err)
	}
}

// The client does not hear that the stream is deleted and made again. The new
// one gives the same sequence numbers.
func TestAStreamMadeAnewBehindTheBackEndsAConsumerWithPlaces(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	admin := s.JetStream()
	create := func() {
		if _, err := admin.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.CreateConsumer(t.Context(), "AGAIN", jetstream.ConsumerConfig{Durable: "worker"}); err != nil {
			t.Fatal(err)
		}
	}
	create()
	proxy := newLossyProxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	nc, err := nats.Connect("nats://"+proxy.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.Consumer(t.Context(), "AGAIN", "worker")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{server: s, js: js, cons: cons, subject: "again"}
	c := r.open(t, &natsbus.Options{Places: true})
	got := make(chan *bus.Message, 10)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		ended <- c.Consume(ctx, func(_ context.Context, m *bus.Message) error { got <- m; return nil })
	}()
	publish := func() {
		if _, err := admin.Publish(t.Context(), "again", nil); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	bustest.Within(t, got, "the message")
	proxy.drop.Store(true)
	if err := admin.DeleteStream(t.Context(), "AGAIN"); err != nil {
		t.Fatal(err)
	}
	create()
	publish()
	proxy.drop.Store(false)
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	if err := bustest.Within(t, ended, "the end"); !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("ended with %v", err)
	}
	if len(got) > 0 {
		t.Error("a message of the other stream was handed over under the old one's name")
	}
}
