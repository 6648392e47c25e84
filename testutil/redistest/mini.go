package redistest

import (
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// MiniServer is a Redis in process whose time stands still until it is moved.
type MiniServer struct {
	*miniredis.Miniredis

	t   testing.TB
	mu  sync.Mutex
	now time.Time
}

// Mini starts a MiniServer that ends with the test. One clock drives both its
// TIME and the lives of its keys, inside scripts too: miniredis' own FastForward
// moves the lives alone, and its SetTime the TIME alone.
func Mini(t testing.TB) *MiniServer {
	t.Helper()
	m := &MiniServer{
		Miniredis: miniredis.RunT(t),
		t:         t,
		now:       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	m.SetTime(m.now)
	m.ClockTTL(true)
	return m
}

// Advance moves the server's time by d.
func (m *MiniServer) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	m.SetTime(m.now)
}

// Now returns the server's time.
func (m *MiniServer) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Options returns the options of a client of m that honours deadlines. They are
// the caller's to change.
func (m *MiniServer) Options() *redis.Options { return options(m.Addr()) }

// Client returns a client of m that is closed with the test.
func (m *MiniServer) Client() *redis.Client { return client(m.t, m.Options()) }

func options(addr string) *redis.Options {
	return &redis.Options{Addr: addr, ContextTimeoutEnabled: true}
}

func client(t testing.TB, o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
