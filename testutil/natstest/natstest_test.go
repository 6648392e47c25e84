package natstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessagesSurviveARestart(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream()
	cons := natstest.Consumer(t, js, jetstream.ConsumerConfig{})
	subject := natstest.Subject(cons.CachedInfo().Stream) + ".a"
	if _, err := js.Publish(t.Context(), subject, []byte("kept")); err != nil {
		t.Fatal(err)
	}

	reconnected := js.Conn().StatusChanged(nats.CONNECTED)
	url := s.URL()
	s.Restart()
	if s.URL() != url {
		t.Fatalf("URL %s became %s", url, s.URL())
	}
	select {
	case <-reconnected:
	case <-time.After(10 * time.Second):
		t.Fatal("no reconnect")
	}
	m, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data()) != "kept" {
		t.Fatalf("got %q", m.Data())
	}
}

func TestStartForPrograms(t *testing.T) {
	s, stop, err := natstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}
