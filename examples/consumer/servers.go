package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/examples/servers"
)

// backing is a NATS server with JetStream and a Redis: those that the flags name,
// or small ones inside this program.
type backing struct {
	natsURL string
	redis   *servers.Redis
	about   string
	closers []func()
}

// String says which they are.
func (s *backing) String() string { return s.about }

// start starts what is not named. Stop ends it.
func (s *backing) start(c *config, logger *slog.Logger) (err error) {
	about := "real NATS"
	if s.natsURL = c.nats; c.nats == "" {
		about = "embedded NATS"
		if err = s.embedNATS(); err != nil {
			return err
		}
	}
	if s.redis, err = servers.OpenRedis(c.redis, logger); err != nil {
		return err
	}
	s.closers = append(s.closers, s.redis.Close)
	s.about = about + ", " + s.redis.String()
	return nil
}

// stop closes what connect returned and ends what start started, last first.
func (s *backing) stop() {
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		s.closers[last]()
		s.closers = s.closers[:last]
	}
}

func (s *backing) embedNATS() error {
	dir, err := os.MkdirTemp("", "once-example-")
	if err != nil {
		return fmt.Errorf("embedded nats: %w", err)
	}
	s.closers = append(s.closers, func() { _ = os.RemoveAll(dir) })
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, MaxPayload: 2 * maxLine,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("embedded nats: %w", err)
	}
	go srv.Start()
	s.closers = append(s.closers, func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("embedded nats: not ready after 20 s")
	}
	s.natsURL = srv.ClientURL()
	return nil
}

// connect returns a connection to each server, which last until stop. A process
// has its own.
func (s *backing) connect(ctx context.Context) (jetstream.JetStream, redis.UniversalClient, error) {
	nc, err := nats.Connect(s.natsURL, nats.Name("once example"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	s.closers = append(s.closers, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	client := s.redis.Connect(ctx)
	s.closers = append(s.closers, func() { _ = client.Close() })
	return js, client, nil
}

// createStream creates a stream that stop deletes.
func (s *backing) createStream(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := js.CreateStream(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("create stream: %w", err)
	}
	s.closers = append(s.closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = js.DeleteStream(ctx, c.Name) // the run is over: nobody could do anything about it
	})
	return stream, nil
}
