package redisstore_test

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) {
	// The cases on real servers wait for the server's clock far more than they
	// compute, so many may run at a time.
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// unit is the shortest lease on a real server.
const unit = 40 * time.Millisecond

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
	if o.Logger == nil {
		o.Logger = quiet
	}
	s, err := redisstore.New(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
