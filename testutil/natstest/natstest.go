// Package natstest runs a NATS server with JetStream inside a test.
//
// [Run] starts one on a free port of the loopback interface, its store in the
// test's temporary directory, and ends it with the test. If the environment
// variable NATS_URL is set, tests use the server there instead; those that must
// restart the server skip then.
package natstest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout is how long a server may take until it takes connections. The
// first one of a process waits for the machine when all packages test at once.
const startTimeout = 20 * time.Second

// Server is a NATS server for tests.
type Server struct {
	t        testing.TB     // nil for Start
	opts     server.Options // of the embedded server
	embedded *server.Server // nil when external
	url      string
}

// Run starts a server that ends with t, or uses the one at NATS_URL. Configure
// functions change the options of an embedded server before it starts; a test
// that has one skips when the server is external.
func Run(t testing.TB, configure ...func(*server.Options)) *Server {
	t.Helper()
	if url := os.Getenv("NATS_URL"); url != "" {
		if len(configure) > 0 {
			t.Skip("natstest: cannot configure the server at NATS_URL")
		}
		return &Server{t: t, url: url}
	}
	s, err := start(t.TempDir(), configure...)
	if err != nil {
		t.Fatal(err)
	}
	s.t = t
	t.Cleanup(s.Shutdown)
	return s
}

// Start starts an embedded server for an example or a benchmark program, which
// have no testing.TB. The caller calls stop, which also removes the server's
// files.
func Start() (s *Server, stop func(), err error) {
	dir, err := os.MkdirTemp("", "natstest-")
	if err != nil {
		return nil, nil, err
	}
	s, err = start(dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() {
		s.Shutdown()
		_ = os.RemoveAll(dir) // a leftover in the temporary directory harms nobody
	}, nil
}

func start(dir string, configure ...func(*server.Options)) (*Server, error) {
	s := &Server{opts: server.Options{
		Host:      "127.0.0.1",
		Port:      server.RANDOM_PORT,
		JetStream: true,
		StoreDir:  dir,
		NoLog:     true,
		NoSigs:    true,
	}}
	for _, f := range configure {
		f(&s.opts)
	}
	return s, s.boot()
}

// boot starts the embedded server with s.opts and keeps the port that it got.
func (s *Server) boot() error {
	opts := s.opts // the server writes its defaults into what it is given
	srv, err := server.NewServer(&opts)
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		return fmt.Errorf("natstest: server not ready within %v", startTimeout)
	}
	s.embedded, s.url = srv, srv.ClientURL()
	s.opts.Port = srv.Addr().(*net.TCPAddr).Port
	return nil
}

// At returns the server at a URL, which is another's to end: one behind a proxy.
func At(t testing.TB, url string) *Server { return &Server{t: t, url: url} }

// URL returns where clients connect to. It stays the same over Restart.
func (s *Server) URL() string { return s.url }

// External reports whether the server is the one at NATS_URL.
func (s *Server) External() bool { return s.embedded == nil }

// Shutdown stops the embedded server and waits until it has stopped. Its store
// stays. It may be called again.
func (s *Server) Shutdown() {
	if s.embedded != nil {
		s.embedded.Shutdown()
		s.embedded.WaitForShutdown()
	}
}

// Restart stops the embedded server, if it runs, and starts it again with the
// same store and port. It skips the test when the server is external.
func (s *Server) Restart() {
	s.t.Helper()
	if s.External() {
		s.t.Skip("natstest: cannot restart the server at NATS_URL")
	}
	s.Shutdown()
	if err := s.boot(); err != nil {
		s.t.Fatal(err)
	}
}

// Connect returns a new connection, which is closed at the end of the test. It
// reconnects quickly and for ever.
func (s *Server) Connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.url, append([]nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default prints
	}, opts...)...)
	if err != nil {
		s.t.Fatalf("natstest: connect: %v", err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// JetStream returns the JetStream of a new connection.
func (s *Server) JetStream(opts ...nats.Option) jetstream.JetStream {
	s.t.Helper()
	js, err := jetstream.New(s.Connect(opts...))
	if err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	return js
}

// Stream makes a stream on file with a name of its own, which is deleted at the
// end of the test. It takes the subjects below Subject of its name.
func Stream(t testing.TB, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	name := "T" + rand.Text()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name:     name,
		Subjects: []string{Subject(name) + ".>"},
	})
	if err != nil {
		t.Fatalf("natstest: stream: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if os.Getenv("NATS_URL") != "" { // an embedded one is thrown away whole
			_ = js.DeleteStream(ctx, name)
		}
	})
	return s
}

// Subject returns the subject below which the named stream of [Stream] listens.
// It differs from the name, because code that takes one for the other must fail.
func Subject(stream string) string { return "subject." + stream }

// Consumer makes a stream as [Stream] does and a consumer on it. A consumer
// without a name is made durable under the name "worker". The stream's name is
// in the consumer's CachedInfo.
func Consumer(t testing.TB, js jetstream.JetStream, cfg jetstream.ConsumerConfig) jetstream.Consumer {
	t.Helper()
	s := Stream(t, js)
	if cfg.Name == "" && cfg.Durable == "" {
		cfg.Durable = "worker"
	}
	c, err := s.CreateConsumer(t.Context(), cfg)
	if err != nil {
		t.Fatalf("natstest: consumer: %v", err)
	}
	return c
}
