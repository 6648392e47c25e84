package natsstore_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/natsstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// unit is the shortest lease. Some cases fail if the machine stands still for
// one.
const unit = 250 * time.Millisecond

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestContract(t *testing.T) {
	t.Parallel()
	js := start(t).JetStream()
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness { return harness(t, js, inMemory) })
}

// start starts a server whose messages have room for the largest result.
func start(t testing.TB) *natstest.Server {
	return natstest.Run(t, func(o *server.Options) { o.MaxPayload = 4 << 20 })
}

// harness is for a server that tests share: each has a bucket of its own.
func harness(t testing.TB, js jetstream.JetStream, configure func(*jetstream.StreamConfig)) *claimtest.Harness {
	bucket := newBucket(t, js, configure)
	return &claimtest.Harness{
		Store:    newStore(t, js, bucket),
		Advance:  func(d time.Duration) { advance(t, js, bucket, d) },
		Unit:     unit,
		Parallel: true,
	}
}

func newBucket(t testing.TB, js jetstream.JetStream, configure func(*jetstream.StreamConfig)) string {
	t.Helper()
	bucket := rand.Text()
	c := natsstore.StreamConfig(bucket)
	if configure != nil {
		configure(&c)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return bucket
}

func newStore(t testing.TB, js jetstream.JetStream, bucket string) *natsstore.Store {
	t.Helper()
	s, err := natsstore.New(t.Context(), js, bucket, &natsstore.Options{Logger: quiet, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// advance returns when the time of the server has moved by d, and a store that
// asked just before has seen it.
func advance(t testing.TB, js jetstream.JetStream, bucket string, d time.Duration) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	began := stream.CachedInfo().TimeStamp
	const lag = 20 * time.Millisecond
	for now := began; now.Sub(began) <= d+lag; {
		timer := time.NewTimer(max(d+lag-now.Sub(began), time.Millisecond))
		<-timer.C
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now = info.TimeStamp
	}
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

// inMemory spares a test the disk.
func inMemory(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }
