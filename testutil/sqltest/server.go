package sqltest

import (
	"bufio"
	"context"
	"database/sql"
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
	args    []string // after the product's
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
	s, err := start(p, p.copyOfOne)
	if err != nil {
		t.Fatalf("sqltest: %v", err)
	}
	t.Cleanup(s.end)
	return s
}

// RunPostgres starts a PostgreSQL for a program, which has no testing.TB, with
// settings such as "fsync=on" after those of the tests. The caller calls stop, which
// also removes the server's files.
func RunPostgres(settings ...string) (s *Server, stop func(), err error) {
	return alone(postgres, asArgs(settings))
}

// RunMariaDB is RunPostgres for MariaDB, with settings such as
// "innodb-flush-log-at-trx-commit=1".
func RunMariaDB(settings ...string) (s *Server, stop func(), err error) {
	var args []string
	for _, setting := range settings {
		args = append(args, "--"+setting)
	}
	return alone(mariadb, args)
}

func alone(p *product, args []string) (s *Server, stop func(), err error) {
	if err = p.missing(); err == nil {
		s, err = start(p, p.make, args...)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("sqltest: %w", err)
	}
	return s, s.end, nil
}

var databases atomic.Int64

// Database makes a database of its own.
func (s *Server) Database(t testing.TB) Database {
	t.Helper()
	d, err := s.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// NewDatabase is Database without a testing.TB.
func (s *Server) NewDatabase(ctx context.Context) (Database, error) {
	name := fmt.Sprintf("once%d", databases.Add(1))
	db, err := sql.Open(s.product.driver, s.product.dsn(s.Addr, s.product.admin))
	if err != nil {
		return Database{}, fmt.Errorf("sqltest: %w", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return Database{}, fmt.Errorf("sqltest: %w", err)
	}
	return Database{s.product.driver, s.product.dsn(s.Addr, name)}, nil
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
	proc, err := s.product.run(s.dir, s.Addr, s.args)
	if err != nil {
		t.Fatalf("sqltest: restart: %v", err)
	}
	s.proc = proc
}

func (s *Server) end() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// start runs a server on a data directory that prepare makes, with args after the
// product's.
func start(p *product, prepare func(dir string) error, args ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "sqltest-")
	if err != nil {
		return nil, err
	}
	s := &Server{product: p, dir: dir, args: args}
	if err = prepare(dir); err == nil {
		for range 10 { // another process may take the port first
			if s.Addr, err = freeAddr(); err != nil {
				break
			}
			if s.proc, err = p.run(dir, s.Addr, args); !errors.Is(err, errPortTaken) {
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
