package redisstore_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// The cases on real servers wait for the server's clock far more than they
	// compute, so many may run at a time.
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	redis.SetLogger(silence{}) // connections break here on purpose
	goleak.VerifyTestMain(m)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// unit is the shortest lease on a real server. Some cases fail if the machine
// stands still for two of them.
const unit = 100 * time.Millisecond

func TestContractOnMiniredis(t *testing.T) { claimtest.Run(t, onMiniredis) }

func onMiniredis(t testing.TB) *claimtest.Harness {
	m := redistest.Mini(t)
	return &claimtest.Harness{
		Store:   newStore(t, m.Client(), &redisstore.Options{}),
		Advance: m.Advance,
		Unit:    time.Second,
	}
}

func TestContractOnServer(t *testing.T) {
	s := redistest.Start(t)
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness { return harness(t, s.Client(), s.Prefix, s.Advance) })
}

// The users of docs/redis.acl can do all that a store does: a command that the
// script takes up must be added there.
func TestContractUnderTheDocumentedACL(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness { return harness(t, client, "once:", s.Advance) })
}

func TestContractOnClusterUnderTheDocumentedACL(t *testing.T) {
	c := redistest.StartCluster(t, 3, "--aclfile", aclFile(t))
	o := c.Options()
	o.Username, o.Password = "once-cluster", "secret"
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness { return harness(t, client, "once:", c.Advance) })
}

// aclFile writes the users of docs/redis.acl, and one for the tests, to a file
// that Redis reads.
func aclFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	users := "user default on nopass ~* &* +@all\n"
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "user ") {
			users += strings.ReplaceAll(line, "<password>", "secret")
		}
	}
	path := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(path, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// harness is for a real server that tests share: each has a prefix of its own.
func harness(t testing.TB, client redis.UniversalClient, prefix string, advance func(time.Duration)) *claimtest.Harness {
	return &claimtest.Harness{
		Store:    newStore(t, client, &redisstore.Options{Prefix: fresh(prefix)}),
		Advance:  advance,
		Unit:     unit,
		Parallel: true,
	}
}

var prefixes atomic.Int64

func fresh(prefix string) string { return fmt.Sprintf("%s%d:", prefix, prefixes.Add(1)) }

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

// long skips a suite under -short, in one of many arrangements that differ little.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the same suite runs in like arrangements, and takes long under the race detector")
	}
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
