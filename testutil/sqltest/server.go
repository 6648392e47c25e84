package sqltest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Server is a database server. Its methods fail the test when they cannot do what
// they say.
type Server struct {
	// Addr is where it listens, host and port.
	Addr string

	product *product
	dir     string
	proc    *process
}

// StartPostgres returns a PostgreSQL that the test has to itself. It ends with
// the test.
func StartPostgres(t testing.TB) *Server { return own(t, postgres) }

// StartMariaDB returns a MariaDB that the test has to itself. It ends with the
// test.
func StartMariaDB(t testing.TB) *Server { return own(t, mariadb) }

func own(t testing.TB, p *product) *Server {
	t.Helper()
	p.require(t)
	s, err := start(p)
	if err != nil {
		t.Fatalf("sqltest: %v", err)
	}
	t.Cleanup(s.end)
	return s
}

var databases atomic.Int64

// Database makes a database of its own.
func (s *Server) Database(t testing.TB) Database {
	t.Helper()
	name := fmt.Sprintf("once%d", databases.Add(1))
	db := Database{s.product.driver, s.product.dsn(s.Addr, s.product.admin)}.Open(t)
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("sqltest: %v", err)
	}
	_ = db.Close()
	return Database{s.product.driver, s.product.dsn(s.Addr, name)}
}

// At returns d as it is reached at another address, such as a proxy's.
func (s *Server) At(d Database, addr string) Database {
	return Database{d.Driver, strings.Replace(d.DSN, s.Addr, addr, 1)}
}

// Kill ends the server at once, as a crash does, and returns when it is gone.
func (s *Server) Kill() { s.proc.end(s.product.crash) }

// Restart starts the server again at the same address and with the same data,
// after killing the one that runs.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	proc, err := s.product.run(s.dir, s.Addr)
	if err != nil {
		t.Fatalf("sqltest: restart: %v", err)
	}
	s.proc = proc
}

func (s *Server) end() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// start makes a data directory and runs a server on it.
func start(p *product) (*Server, error) {
	dir, err := os.MkdirTemp("", "sqltest-")
	if err != nil {
		return nil, err
	}
	s := &Server{product: p, dir: dir}
	if err = p.prepare(dir); err == nil {
		for range 10 { // another process may take the port first
			if s.Addr, err = freeAddr(); err != nil {
				break
			}
			if s.proc, err = p.run(dir, s.Addr); !errors.Is(err, errPortTaken) {
				break
			}
		}
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// process is a server's.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	gone chan struct{}
}

var errPortTaken = errors.New("the port is taken")

// launch runs cmd and returns when its log says ready.
func launch(cmd *exec.Cmd, ready string) (*process, error) {
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	var log strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), ready) {
			go func() {
				defer close(p.gone)
				_, _ = io.Copy(io.Discard, out)
				_ = cmd.Wait()
			}()
			return p, nil
		}
	}
	_ = cmd.Wait()
	if strings.Contains(log.String(), "ddress already in use") {
		return nil, errPortTaken
	}
	return nil, fmt.Errorf("%s did not start:\n%s", cmd.Path, log.String())
}

func (p *process) end(sig syscall.Signal) {
	p.once.Do(func() { _ = p.cmd.Process.Signal(sig) })
	<-p.gone
}

// freeAddr returns an address of this machine at which nobody listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
