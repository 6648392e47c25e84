package redistest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clockAndLife reads the time and a key's life where scripts do.
var clockAndLife = redis.NewScript(`local t = redis.call('TIME')
return {t[1] * 1000 + math.floor(t[2] / 1000), redis.call('PTTL', KEYS[1])}`)

func TestMiniHasOneClock(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	ctx := t.Context()
	if err := client.Set(ctx, "key", "value", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	read := func() (now, life int64) {
		t.Helper()
		values, err := clockAndLife.Run(ctx, client, []string{"key"}).Int64Slice()
		if err != nil {
			t.Fatal(err)
		}
		return values[0], values[1]
	}
	now, life := read()
	m.Advance(20 * time.Second)
	later, left := read()
	if later-now != 20_000 || life-left != 20_000 || later != m.Now().UnixMilli() {
		t.Fatalf("the time moved by %d ms and the life by %d, want 20000 and 20000", later-now, life-left)
	}
	m.Advance(40 * time.Second)
	if _, left := read(); left != -2 {
		t.Fatalf("%d ms left of a life that is over", left)
	}
}

func TestServer(t *testing.T) {
	s := redistest.StartOwn(t, "--appendonly", "yes", "--appendfsync", "always")
	client := s.Client()
	ctx := t.Context()
	before, err := client.Time(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	s.Advance(30 * time.Millisecond)
	after, err := client.Time(ctx).Result()
	if err != nil || after.Sub(before) < 30*time.Millisecond {
		t.Fatalf("Advance took %v of the server's time, error %v", after.Sub(before), err)
	}

	s.Stop()
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	if err := client.Ping(short).Err(); err == nil {
		t.Fatal("a stopped server answers")
	}
	s.Cont()
	if err := client.Set(ctx, s.Prefix+"key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if v, err := client.Get(ctx, s.Prefix+"key").Result(); err != nil || v != "value" {
		t.Fatalf("after a restart: %q, error %v", v, err)
	}
	s.Kill()
	once := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	defer once.Close()
	if err := once.Ping(ctx).Err(); err == nil {
		t.Fatal("a killed server answers")
	}
}

func TestServersStartSideBySide(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			if err := redistest.Start(t).Client().Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 2)
	client := c.Client()
	for _, key := range []string{"a", "b", "c", "d"} {
		if err := client.Set(t.Context(), key, "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, node := range c.Nodes {
		if n := node.Client().DBSize(t.Context()).Val(); n == 0 {
			t.Errorf("node %d has no key", i)
		}
	}
	c.Advance(time.Millisecond)
}

func TestReplica(t *testing.T) {
	primary, replica := redistest.StartReplica(t)
	client := primary.Client()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Wait(t.Context(), 1, 5*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas, error %v", n, err)
	}
	if v, err := replica.Client().Get(t.Context(), "key").Result(); err != nil || v != "value" {
		t.Fatalf("%q, error %v", v, err)
	}
}

func TestSentinelPromotesTheReplica(t *testing.T) {
	s := redistest.StartSentinel(t)
	client := s.Client()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Primary.Client().Wait(t.Context(), 1, 5*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas, error %v", n, err)
	}
	if s.Master() != s.Primary {
		t.Fatal("the replica is the master")
	}
	s.Primary.Kill()
	s.AwaitFailover()
	if s.Master() != s.Replica {
		t.Fatal("the replica is not the master")
	}
	if v, err := client.Get(t.Context(), "key").Result(); err != nil || v != "value" {
		t.Fatalf("%q, error %v", v, err)
	}
	s.Advance(time.Millisecond)
}

// skipped is a testing.TB that records how a helper ends the test.
type skipped struct {
	testing.TB
	how string
}

var errEnded = errors.New("ended")

func (s *skipped) Skip(args ...any)  { s.how = "skip: " + args[0].(string); panic(errEnded) }
func (s *skipped) Fatal(args ...any) { s.how = "fatal: " + args[0].(string); panic(errEnded) }
func (s *skipped) Helper()           {}

func TestAMissingServerSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("REDIS_URL", "")
	for _, c := range []struct{ require, want string }{{"", "skip: "}, {"1", "fatal: "}} {
		t.Setenv("ONCE_REQUIRE_SERVERS", c.require)
		tb := &skipped{TB: t}
		func() {
			defer func() {
				if r := recover(); r != errEnded {
					t.Errorf("%v", r)
				}
			}()
			redistest.Start(tb)
		}()
		if !strings.HasPrefix(tb.how, c.want) || !strings.Contains(tb.how, "install redis-server") || !strings.Contains(tb.how, "REDIS_URL") {
			t.Errorf("ONCE_REQUIRE_SERVERS=%q: %q", c.require, tb.how)
		}
	}
}

func TestASharedServerIsNotStarted(t *testing.T) {
	s := redistest.StartOwn(t)
	t.Setenv("REDIS_URL", "redis://"+s.Addr+"/3")
	shared := redistest.Start(t)
	if shared.Addr != s.Addr || shared.Prefix == s.Prefix || shared.Options().DB != 3 {
		t.Fatalf("%s with prefix %s", shared.Addr, shared.Prefix)
	}
	if err := shared.Client().Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	shared.Advance(time.Millisecond)
}
