package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a primary with a replica, watched by three sentinels that promote
// the replica when the primary has been silent for half a second.
type Sentinel struct {
	// Primary and Replica are so at the start; Master tells which is the master.
	Primary, Replica *Server

	t         testing.TB
	addrs     []string
	sentinels []*redis.SentinelClient
}

// MasterName is what sentinels call their master.
const MasterName = "once"

// StartSentinel starts the five processes and returns when every sentinel knows
// the replica and the other sentinels: after about two seconds, which is how
// often they tell. They end with the test.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{t: t}
	s.Primary, s.Replica = StartReplica(t)
	for range 3 {
		addr, err := startSentinel(t, s.Primary.Addr)
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		s.addrs = append(s.addrs, addr)
		client := redis.NewSentinelClient(options(addr))
		t.Cleanup(func() { _ = client.Close() })
		s.sentinels = append(s.sentinels, client)
	}
	for _, sentinel := range s.sentinels {
		await(t, "the sentinels to know each other", func(ctx context.Context) (bool, error) {
			state, err := sentinel.Master(ctx, MasterName).Result()
			return state["num-slaves"] == "1" && state["num-other-sentinels"] == "2", err
		})
	}
	return s
}

func startSentinel(t testing.TB, primary string) (addr string, err error) {
	host, port, _ := net.SplitHostPort(primary)
	dir := t.TempDir()
	file := filepath.Join(dir, "conf") // a sentinel writes down there what it learns
	for range 10 {                     // another process may take the port first
		if addr, err = freeAddr(); err != nil {
			return "", err
		}
		_, own, _ := net.SplitHostPort(addr)
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %[3]s %s %s 2\n"+
			"sentinel down-after-milliseconds %[3]s 500\nsentinel failover-timeout %[3]s 3000\n", own, dir, MasterName, host, port)
		if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		var proc *process
		if proc, err = launch(exec.Command("redis-server", file, "--sentinel"), "+monitor master"); err == nil {
			t.Cleanup(proc.kill)
			return addr, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return "", err
}

// Options returns the options of a client that honours deadlines and asks the
// sentinels for the master. They are the caller's to change.
func (s *Sentinel) Options() *redis.FailoverOptions {
	return &redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: s.addrs, ContextTimeoutEnabled: true}
}

// Client returns a client of the master, whichever that is, which is closed with
// the test.
func (s *Sentinel) Client() *redis.Client {
	client := redis.NewFailoverClient(s.Options())
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Advance returns when the master's time has moved by d.
func (s *Sentinel) Advance(d time.Duration) {
	s.t.Helper()
	s.Master().Advance(d)
}

// Master returns the server that the sentinels call the master.
func (s *Sentinel) Master() *Server {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	addr, err := s.sentinels[0].GetMasterAddrByName(ctx, MasterName).Result()
	must(s.t, err)
	if net.JoinHostPort(addr[0], addr[1]) == s.Replica.Addr {
		return s.Replica
	}
	return s.Primary
}

// Switch has the sentinels promote the replica although the primary lives, as an
// operator does, and returns when they have. The primary becomes a replica some
// seconds later.
func (s *Sentinel) Switch() {
	s.t.Helper()
	must(s.t, s.sentinels[0].Failover(s.t.Context(), MasterName).Err())
	s.AwaitFailover()
}

// AwaitFailover returns when all sentinels call the replica the master and it is
// one. The primary must be out of their reach before.
func (s *Sentinel) AwaitFailover() {
	s.t.Helper()
	for _, sentinel := range s.sentinels {
		await(s.t, "the sentinels to promote the replica", func(ctx context.Context) (bool, error) {
			addr, err := sentinel.GetMasterAddrByName(ctx, MasterName).Result()
			return err == nil && net.JoinHostPort(addr[0], addr[1]) == s.Replica.Addr, err
		})
	}
	await(s.t, "the replica to be a master", func(ctx context.Context) (bool, error) {
		role, err := s.Replica.clock.Do(ctx, "role").Slice()
		return err == nil && role[0] == "master", err
	})
}
