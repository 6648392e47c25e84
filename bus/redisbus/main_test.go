package redisbus_test

import (
	"context"
	"crypto/rand"
	"flag"
	"log/slog"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// Tests wait for idle times and hardly compute, so many go side by side on few
	// cores. The command line overrules it.
	_ = flag.Set("test.parallel", parallel)
	redis.SetLogger(silent{}) // it says for every dial that the server is down
	goleak.VerifyTestMain(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

var quiet = slog.New(slog.DiscardHandler)

// rig is a stream with a group.
type rig struct {
	client        redis.UniversalClient
	stream, group string
}

func rigOn(client redis.UniversalClient, prefix string) *rig {
	return &rig{client: client, stream: prefix + rand.Text(), group: "group"}
}

// newRig returns a rig on a real server.
func newRig(t testing.TB) *rig {
	s := redistest.Start(t)
	return rigOn(s.Client(), s.Prefix)
}

// newMini returns a rig on miniredis, whose clock runs.
func newMini(t testing.TB) *rig {
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	return rigOn(client, "")
}

// open makes a Consumer of the rig's group, which is made if need be.
func (r *rig) open(t testing.TB, o redisbus.Options) *redisbus.Consumer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.CreateFrom == "" {
		o.CreateFrom = "0"
	}
	c, err := redisbus.New(t.Context(), r.client, r.stream, r.group, &o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish adds messages with these payloads, which are their ids too.
func (r *rig) publish(t testing.TB, data ...string) {
	t.Helper()
	p, err := redisbus.NewPublisher(r.client, r.stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	messages := make([]bus.Message, len(data))
	for i, d := range data {
		messages[i] = bus.Message{ID: d, Data: []byte(d)}
	}
	if err := p.Publish(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

// pending returns how many entries are delivered and not acked.
func (r *rig) pending(t testing.TB) int64 {
	t.Helper()
	p, err := r.client.XPending(t.Context(), r.stream, r.group).Result()
	if err != nil {
		t.Fatal(err)
	}
	return p.Count
}

// names returns the names of the group's consumers.
func (r *rig) names(t testing.TB) (names []string) {
	t.Helper()
	consumers, err := r.client.XInfoConsumers(t.Context(), r.stream, r.group).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range consumers {
		names = append(names, c.Name)
	}
	return names
}

// consume runs c.Consume until stop is called or the test ends, and closes c then.
func consume(t testing.TB, c *redisbus.Consumer, h bus.Handler) (stop func()) {
	t.Helper()
	end := bustest.Background(t, func(ctx context.Context) error { return c.Consume(ctx, h) })
	stop = sync.OnceFunc(func() {
		if err := end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
