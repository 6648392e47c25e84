package redistest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a real Redis server. Its methods fail the test when they cannot do
// what they say.
type Server struct {
	// Addr is where it listens, host and port.
	Addr string
	// Prefix is one that no other test has. A test that may run on a shared
	// server keeps to it and never flushes.
	Prefix string

	t     testing.TB
	clock *redis.Client
	base  *redis.Options // of a shared server; nil when the process is ours
	dir   string
	args  []string
	proc  *process
}

// Start returns a server for a test that keeps to its Prefix: the shared one
// that REDIS_URL names, or else one of its own.
func Start(t testing.TB) *Server {
	t.Helper()
	url := os.Getenv("REDIS_URL")
	if url == "" {
		return StartOwn(t)
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("redistest: REDIS_URL: %v", err)
	}
	o.ContextTimeoutEnabled = true
	s := &Server{t: t, base: o, Addr: o.Addr, Prefix: newPrefix()}
	s.clock = s.Client()
	return s
}

// StartOwn returns a server that the test has to itself: redis-server in a
// process of its own, with args after settings that turn persistence off. It
// ends with the test.
func StartOwn(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: args, Prefix: newPrefix()}
	requireBinary(t)
	s.dir = t.TempDir()
	var err error
	for range 10 { // another process may take the port first
		if s.Addr, err = freeAddr(); err != nil {
			t.Fatalf("redistest: %v", err)
		}
		if s.proc, err = start(s.Addr, s.dir, s.args); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(func() { s.proc.kill() })
	s.clock = s.Client()
	return s
}

func newPrefix() string { return "redistest:" + rand.Text() + ":" }

func requireBinary(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	const message = "redistest: no Redis: install redis-server or set REDIS_URL"
	if os.Getenv("ONCE_REQUIRE_SERVERS") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// own ends a test that must have the process to itself and does not.
func (s *Server) own() {
	s.t.Helper()
	if s.base != nil {
		s.t.Skip("redistest: the server that REDIS_URL names is shared: unset it and install redis-server")
	}
}

// Options returns the options of a client of s that honours deadlines. They are
// the caller's to change.
func (s *Server) Options() *redis.Options {
	if s.base != nil {
		o := *s.base
		return &o
	}
	return options(s.Addr)
}

// Client returns a client of s that is closed with the test.
func (s *Server) Client() *redis.Client { return client(s.t, s.Options()) }

// Advance returns when the server's own time has moved by d.
func (s *Server) Advance(d time.Duration) { advance(s.t, s.clock, d) }

func advance(t testing.TB, c *redis.Client, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d+10*time.Second)
	defer cancel()
	start, err := c.Time(ctx).Result()
	for now := start; err == nil && now.Sub(start) <= d; now, err = c.Time(ctx).Result() {
		pause(ctx, d-now.Sub(start))
	}
	if err != nil {
		t.Fatalf("redistest: the server's time: %v", err)
	}
}

// pause returns after d, at least a moment, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(max(d, 200*time.Microsecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Stop stops the process with SIGSTOP: the kernel still accepts connections and
// bytes for it, nobody answers.
func (s *Server) Stop() {
	s.t.Helper()
	s.own()
	s.signal(syscall.SIGSTOP)
	s.proc.await('T')
}

// Cont lets a stopped process go on.
func (s *Server) Cont() {
	s.t.Helper()
	s.own()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.proc.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("redistest: %v: %v", sig, err)
	}
}

// Kill kills the process with SIGKILL and returns when it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	s.own()
	s.proc.kill()
}

// Restart starts a process at the same address and in the same directory, after
// killing the one that runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.own()
	s.proc.kill()
	proc, err := start(s.Addr, s.dir, s.args)
	if err != nil {
		s.t.Fatalf("redistest: restart: %v", err)
	}
	s.proc = proc
}

// process is a redis-server.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	gone chan struct{}
}

var errPortTaken = errors.New("the port is taken")

// start runs redis-server and returns when it says that it accepts connections.
func start(addr, dir string, args []string) (*process, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	settings := []string{
		"--bind", host, "--port", port, "--dir", dir, "--daemonize", "no", "--logfile", "",
		"--save", "", "--appendonly", "no",
	}
	return launch(exec.Command("redis-server", append(settings, args...)...), "ready to accept connections")
}

// launch runs cmd and returns when its log says so.
func launch(cmd *exec.Cmd, ready string) (*process, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	log, ok := readLog(out, ready)
	if ok {
		go func() {
			defer close(p.gone)
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
		}()
		return p, nil
	}
	_ = cmd.Wait()
	if strings.Contains(log, "Address already in use") {
		return nil, errPortTaken
	}
	return nil, fmt.Errorf("redis-server did not start:\n%s", log)
}

// readLog reads the log until a line has the words, whose case does not matter,
// or the server has gone.
func readLog(out io.Reader, words string) (log string, found bool) {
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(strings.ToLower(lines.Text()), words) {
			return text.String(), true
		}
	}
	return text.String(), false
}

func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
	<-p.gone
}

// await returns when the kernel reports the process in state. A signal is sent
// before it is delivered.
func (p *process) await(state byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
		if err != nil {
			return // no such file system: the signal will be delivered soon
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, string(state)) {
			return
		}
		pause(ctx, 0)
	}
}

// freeAddr returns an address of this machine at which nobody listens. The port
// plus 10,000, where a cluster node has its bus, is free too.
func freeAddr() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addr := l.Addr().(*net.TCPAddr)
		_ = l.Close()
		if bus := addr.Port + 10000; bus < 65536 {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(bus)))
			if err == nil {
				_ = l.Close()
				return addr.String(), nil
			}
		}
	}
	return "", errors.New("no free port")
}
