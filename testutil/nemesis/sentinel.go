//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// masterName is what the sentinels call the primary.
const masterName = "once"

// Sentinel is one of the processes that watch the primary.
type Sentinel struct {
	Addr   string
	proc   *Process
	client *redis.SentinelClient
}

// startSentinels starts three that watch the primary at addr, and returns when
// each knows the replica and the others.
func startSentinels(dir, addr string) (all []*Sentinel, err error) {
	for i := range 3 {
		s, err := startSentinel(filepath.Join(dir, strconv.Itoa(i)), addr)
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	for _, s := range all {
		err := await(context.Background(), startLimit, "the sentinels", func() bool {
			state, err := s.client.Master(context.Background(), masterName).Result()
			return err == nil && state["num-slaves"] == "1" && state["num-other-sentinels"] == "2"
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func startSentinel(dir, addr string) (*Sentinel, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	own, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(own)
	host, primary, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "conf") // it writes down there what it learns
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nlogfile %s\nsentinel monitor once %s %s 2\n"+
		"sentinel down-after-milliseconds once 500\nsentinel failover-timeout once 3000\n",
		port, dir, filepath.Join(dir, "log"), host, primary)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	proc, err := startProcess(exec.Command("redis-server", conf, "--sentinel"))
	if err != nil {
		return nil, err
	}
	return &Sentinel{own, proc, redis.NewSentinelClient(&redis.Options{Addr: own, ContextTimeoutEnabled: true})}, nil
}

func (s *Sentinel) close() {
	_ = s.client.Close()
	s.proc.Kill()
}

// AwaitPromotion returns when the sentinels have made the replica the primary,
// which is then the Store. The primary must be out of their reach.
func (w *World) AwaitPromotion() error {
	for _, s := range w.Sentinels {
		err := await(w.ctx, startLimit, "the sentinels to promote the replica", func() bool {
			addr, err := s.client.GetMasterAddrByName(w.ctx, masterName).Result()
			return err == nil && net.JoinHostPort(addr[0], addr[1]) == w.Standby.Addr
		})
		if err != nil {
			return err
		}
	}
	w.Lost()
	w.Store = w.Standby
	return nil
}
