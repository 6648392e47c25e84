package dedupe_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/testutil/redistest"
)

func newRedisStore(t testing.TB, client redis.UniversalClient, prefix string) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(context.Background(), client, &redisstore.Options{Prefix: prefix, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// follow makes a server's clock show the virtual time of the bubble at every
// command.
type follow struct{ server *redistest.MiniServer }

func (f follow) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f follow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f.server.SetTime(time.Now())
		return next(ctx, cmd)
	}
}

func (f follow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f.server.SetTime(time.Now())
		return next(ctx, cmds)
	}
}

func TestStoriesOnMiniredis(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			server := redistest.Mini(t) // outside of the bubble: its connections are not durably blocked
			synctest.Test(t, func(t *testing.T) {
				client := redis.NewClient(server.Options())
				t.Cleanup(func() { _ = client.Close() })
				client.AddHook(follow{server})
				s.tell(&world{T: t, store: newRedisStore(t, client, "once:"), lease: lease})
			})
		})
	}
}

func TestStoriesOnRedis(t *testing.T) {
	server := redistest.Start(t)
	for i, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			store := newRedisStore(t, server.Client(), fmt.Sprintf("%s%d:", server.Prefix, i))
			s.tell(&world{T: t, store: store, lease: lease / 2})
		})
	}
}
