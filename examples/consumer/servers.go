package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

// servers are a NATS server with JetStream and a Redis: those that the flags
// name, or small ones inside this program.
type servers struct {
	natsURL string
	redis   redis.UniversalOptions
	about   string
	closers []func()
}

// start starts what is not named. Stop ends it. The logger gets what go-redis
// has to say, which would go to the standard error.
func (s *servers) start(c *config, logger *slog.Logger) error {
	redis.SetLogger(redisLogger{logger})
	var err error
	about := "real NATS"
	if s.natsURL = c.nats; c.nats == "" {
		about = "embedded NATS"
		if err = s.embedNATS(); err != nil {
			return err
		}
	}
	if c.redis != "" {
		s.about = about + ", real Redis"
		return s.parseRedis(c.redis)
	}
	s.about = about + ", embedded Redis (miniredis)"
	return s.embedRedis()
}

type redisLogger struct{ *slog.Logger }

// Printf is called by go-redis.
func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.InfoContext(ctx, fmt.Sprintf(format, args...))
}

// stop closes what connect returned and ends what start started, last first.
func (s *servers) stop() {
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		s.closers[last]()
		s.closers = s.closers[:last]
	}
}

func (s *servers) embedNATS() error {
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

func (s *servers) embedRedis() error {
	mini, err := miniredis.Run()
	if err != nil {
		return fmt.Errorf("embedded redis: %w", err)
	}
	s.closers = append(s.closers, mini.Close)
	s.redis.Addrs = []string{mini.Addr()}
	// It makes a new Lua machine for every script call. In a heap as small as
	// this one, the collector would run a hundred times a second.
	debug.SetGCPercent(400)
	return nil
}

// parseRedis takes addresses with commas between them: URLs, or host and port.
// Of several URLs the first says how to log in.
func (s *servers) parseRedis(addresses string) error {
	for i, address := range strings.Split(addresses, ",") {
		o := &redis.Options{Addr: strings.TrimSpace(address)}
		if strings.Contains(address, "://") {
			var err error
			if o, err = redis.ParseURL(o.Addr); err != nil {
				return fmt.Errorf("-redis: %w", err)
			}
		}
		if o.Addr == "" {
			return fmt.Errorf("-redis: an address in %q is empty", addresses)
		}
		if i == 0 {
			s.redis = redis.UniversalOptions{
				DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
			}
		}
		s.redis.Addrs = append(s.redis.Addrs, o.Addr)
	}
	return nil
}

// connect returns a connection to each server, which last until stop. A process
// has its own.
func (s *servers) connect(ctx context.Context) (jetstream.JetStream, redis.UniversalClient, error) {
	nc, err := nats.Connect(s.natsURL, nats.Name("once example"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	s.closers = append(s.closers, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	return js, s.connectRedis(ctx), nil
}

func (s *servers) connectRedis(ctx context.Context) redis.UniversalClient {
	o := s.redis
	o.ContextTimeoutEnabled = true // otherwise no deadline ends a call in time
	client := redis.NewUniversalClient(&o)
	s.closers = append(s.closers, func() { _ = client.Close() })
	if len(o.Addrs) == 1 && !o.IsClusterMode {
		// It may be a node of a cluster, which tells of the others.
		info, err := client.Info(ctx, "cluster").Result()
		if err == nil && strings.Contains(info, "cluster_enabled:1") {
			s.redis.IsClusterMode = true
			return s.connectRedis(ctx)
		}
	}
	return client
}

// createStream creates a stream that stop deletes.
func (s *servers) createStream(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig) (jetstream.Stream, error) {
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
