//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNoRedis is returned where there is no redis-server.
var ErrNoRedis = errors.New("nemesis: no redis-server on PATH: install redis-server")

// startLimit is how long a server may take to answer: the machine may be busy.
const startLimit = 20 * time.Second

// Redis is a redis-server in a process and a directory of its own. Package
// redistest has the same for a test; this one belongs to a program, dies with it
// and takes an environment.
type Redis struct {
	// Addr is where it listens, the same over Restart.
	Addr string

	dir   string
	args  []string
	clock *Clock // nil: the machine's
	proc  *Process
	admin *redis.Client
}

// StartRedis starts a server that keeps its files in dir, with args after
// settings that turn persistence off.
func StartRedis(dir string, clock *Clock, args ...string) (*Redis, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, ErrNoRedis
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	r := &Redis{dir: dir, args: args, clock: clock}
	var err error
	for range 10 { // another process may take the port first
		if r.Addr, err = freeAddr(); err != nil {
			return nil, err
		}
		if err = r.start(); err == nil {
			return r, nil
		}
		_ = r.admin.Close()
		r.admin = nil // it was for that address
		if errors.Is(err, errDeadline) {
			break
		}
	}
	return nil, err
}

func (r *Redis) start() error {
	host, port, _ := net.SplitHostPort(r.Addr)
	settings := []string{"--bind", host, "--port", port, "--dir", r.dir, "--daemonize", "no",
		"--logfile", filepath.Join(r.dir, "log"), "--save", "", "--appendonly", "no", "--enable-debug-command", "local"}
	cmd := exec.Command("redis-server", append(settings, r.args...)...)
	cmd.Env = append(os.Environ(), r.clock.env()...)
	proc, err := startProcess(cmd)
	if err != nil {
		return err
	}
	r.proc = proc
	if r.admin == nil {
		r.admin = redis.NewClient(&redis.Options{Addr: r.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	}
	ctx := context.Background()
	err = await(ctx, startLimit, "redis-server", func() bool {
		select {
		case <-proc.gone:
			return true
		default:
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return r.admin.Ping(ctx).Err() == nil
	})
	select {
	case <-proc.gone:
		log, _ := os.ReadFile(filepath.Join(r.dir, "log"))
		return fmt.Errorf("nemesis: redis-server did not start: %s", log)
	default:
	}
	if err != nil {
		proc.Kill()
	}
	return err
}

// Pid returns the process id of the server.
func (r *Redis) Pid() int { return r.proc.Pid() }

// Kill kills the server with SIGKILL.
func (r *Redis) Kill() { r.proc.Kill() }

// Restart starts a server that was killed, at the same address and with the same
// files.
func (r *Redis) Restart() error {
	r.proc.Kill()
	return r.start()
}

// Pause stops the process with SIGSTOP and returns when the kernel has done so.
func (r *Redis) Pause() error {
	r.proc.Signal(syscall.SIGSTOP)
	return await(context.Background(), startLimit, "redis-server to stop", func() bool { return stopped(r.Pid()) })
}

// Resume lets a stopped server go on.
func (r *Redis) Resume() { r.proc.Signal(syscall.SIGCONT) }

// Do carries out one command as an administrator.
func (r *Redis) Do(args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.admin.Do(ctx, args...).Err(); err != nil {
		return fmt.Errorf("nemesis: redis %v: %w", args[0], err)
	}
	return nil
}

// Info returns a number that INFO tells, 0 when it does not. Only what stands
// between name and the next comma or line is read.
func (r *Redis) Info(section, name string) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	text, _ := r.admin.Info(ctx, section).Result()
	_, rest, _ := strings.Cut(text, name)
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	n, _ := strconv.ParseInt(rest[:max(end, 0)], 10, 64)
	return n
}

// Close kills the server.
func (r *Redis) Close() {
	_ = r.admin.Close()
	r.proc.Kill()
}

// ReplicaHost is where a replica's connection to its primary comes from.
const ReplicaHost = "127.0.0.2"

// StartReplica starts a replica of r that reaches it at addr, and returns when it
// is up to date.
func (r *Redis) StartReplica(dir, addr string) (*Redis, error) {
	host, port, _ := net.SplitHostPort(addr)
	replica, err := StartRedis(dir, nil, "--replicaof", host+" "+port, "--bind-source-addr", ReplicaHost)
	if err != nil {
		return nil, err
	}
	err = await(context.Background(), startLimit, "the replica", func() bool {
		// Something must be replicated to be confirmed; the next ping is ten seconds away.
		return r.Do("publish", "nemesis", "") == nil && r.Info("replication", "state=online,offset=") > 0
	})
	if err != nil {
		replica.Close()
		return nil, err
	}
	return replica, nil
}

// DoAll carries out commands in one trip as an administrator.
func (r *Redis) DoAll(commands [][]any) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	pipe := r.admin.Pipeline()
	for _, c := range commands {
		pipe.Do(ctx, c...)
	}
	if _, err := pipe.Exec(ctx); err != nil && len(commands) > 0 {
		return fmt.Errorf("nemesis: redis %v: %w", commands[0][0], err)
	}
	return nil
}

func closeAll(servers []*Redis) {
	for _, s := range servers {
		s.Close()
	}
}

// freeAddr returns an address of this machine at which nobody listens. The port
// plus 10,000, where a cluster node has its bus, exists too.
func freeAddr() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("nemesis: %w", err)
		}
		addr := l.Addr().(*net.TCPAddr)
		_ = l.Close()
		if addr.Port+10000 < 65536 {
			return addr.String(), nil
		}
	}
	return "", errors.New("nemesis: no free port")
}
