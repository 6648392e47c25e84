// Package servers finds or starts the Redis of an example.
package servers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Redis is a Redis that a flag names, or a small one inside this program.
type Redis struct {
	options redis.UniversalOptions
	mini    *miniredis.Miniredis // nil for one that a flag names
}

// OpenRedis takes a URL or host:port, or several with commas between them for a
// cluster; of several URLs the first says how to log in. Without any it starts a
// miniredis. The logger gets what go-redis has to say, which would go to the
// standard error.
func OpenRedis(addresses string, logger *slog.Logger) (*Redis, error) {
	redis.SetLogger(redisLogger{logger})
	if addresses != "" {
		o, err := parse(addresses)
		if err != nil {
			return nil, fmt.Errorf("-redis: %w", err)
		}
		return &Redis{options: *o}, nil
	}
	mini, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	// It makes a new Lua machine for every script call. In a heap as small as this
	// one, the collector would run a hundred times a second.
	debug.SetGCPercent(400)
	return &Redis{options: redis.UniversalOptions{Addrs: []string{mini.Addr()}}, mini: mini}, nil
}

func parse(addresses string) (*redis.UniversalOptions, error) {
	all := &redis.UniversalOptions{}
	for i, address := range strings.Split(addresses, ",") {
		o := &redis.Options{Addr: strings.TrimSpace(address)}
		if strings.Contains(address, "://") {
			var err error
			if o, err = redis.ParseURL(o.Addr); err != nil {
				return nil, err
			}
		}
		if o.Addr == "" {
			return nil, errors.New("an address is empty")
		}
		if i == 0 {
			all.DB, all.Username, all.Password, all.TLSConfig = o.DB, o.Username, o.Password, o.TLSConfig
		}
		all.Addrs = append(all.Addrs, o.Addr)
	}
	return all, nil
}

// String says which kind it is.
func (r *Redis) String() string {
	if r.mini == nil {
		return "real Redis"
	}
	return "embedded Redis (miniredis)"
}

// Connect returns a client, which the caller closes. A process has its own. It is
// safe for concurrent use.
func (r *Redis) Connect(ctx context.Context) redis.UniversalClient {
	o := r.options
	o.ContextTimeoutEnabled = true // otherwise no deadline ends a call in time
	client := redis.NewUniversalClient(&o)
	if r.mini != nil || len(o.Addrs) > 1 {
		return client
	}
	// It may be a node of a cluster, which tells of the others.
	if info, err := client.Info(ctx, "cluster").Result(); err != nil || !strings.Contains(info, "cluster_enabled:1") {
		return client
	}
	_ = client.Close() // nothing has used it yet
	o.IsClusterMode = true
	return redis.NewUniversalClient(&o)
}

// Close ends what OpenRedis started.
func (r *Redis) Close() {
	if r.mini != nil {
		r.mini.Close()
	}
}

type redisLogger struct{ *slog.Logger }

// Printf is called by go-redis.
func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.InfoContext(ctx, fmt.Sprintf(format, args...))
}
