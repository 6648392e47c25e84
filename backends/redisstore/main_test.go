package redisstore_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
)

func TestMain(m *testing.M) {
	// The cases on real servers wait for the server's clock far more than they
	// compute, so many may run at a time.
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	// miniredis makes a Lua machine for every script call. In a heap as small as
	// this one, the collector would run a hundred times a second.
	debug.SetGCPercent(400)
	redis.SetLogger(silence{}) // connections break here on purpose
	goleak.VerifyTestMain(m)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newStore(t testing.TB, client redis.UniversalClient, o *redisstore.Options) *redisstore.Store {
	t.Helper()
	if o == nil {
		o = &redisstore.Options{}
	}
	if o.Logger == nil {
		o.Logger = quiet
	}
	s, err := redisstore.New(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var ids atomic.Int64

// newKey returns a key that no other call returns.
func newKey(t testing.TB) claim.Key {
	t.Helper()
	key, err := claim.NewKey("test", "consumer", claim.MessageID(fmt.Sprintf("message-%d", ids.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRequest() claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
}

// nameOf returns the name of key's record in Redis.
func nameOf(prefix string, key claim.Key) string {
	d := key.Digest()
	return prefix + string(d[:])
}

// one carries out op by the method of its kind.
func one(ctx context.Context, s *redisstore.Store, op *claim.Op) {
	op.Verdict, op.Recovered, op.Err = claim.Verdict{}, false, nil
	switch op.Kind {
	case claim.OpTryClaim:
		op.Verdict, op.Err = s.TryClaim(ctx, op.Key, op.Request)
	case claim.OpExtend:
		op.Err = s.Extend(ctx, op.Key, op.Grant, op.TTL)
	case claim.OpMarkDone:
		op.Recovered, op.Err = s.MarkDone(ctx, op.Key, op.Grant, op.Completion)
	case claim.OpMarkDead:
		op.Err = s.MarkDead(ctx, op.Key, op.Grant, op.Reason)
	case claim.OpRelease:
		op.Err = s.Release(ctx, op.Key, op.Grant, op.TTL)
	case claim.OpForget:
		op.Err = s.Forget(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
	case claim.OpRevive:
		op.Err = s.Revive(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
	}
}
