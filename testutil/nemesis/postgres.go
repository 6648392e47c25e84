//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oncebus/once/testutil/sqltest"
)

// Postgres is a PostgreSQL in a process and a directory of its own. What is
// committed outlives a kill (synchronous_commit is on), not a power cut (fsync is
// off).
type Postgres struct {
	// Addr is where it listens, the same over Restart.
	Addr string

	dir  string
	proc *Process
}

// StartPostgres starts a server. It fails with sqltest.ErrNotInstalled where there
// is none.
func StartPostgres() (*Postgres, error) {
	// Beside the trial's directory, which is the user's alone: root runs the server
	// as somebody else.
	dir, err := os.MkdirTemp("", "once-nemesis-postgres-")
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	p := &Postgres{dir: dir}
	for range 10 { // another process may take the port first
		if p.Addr, err = freeAddr(); err != nil {
			break
		}
		if err = p.start(); err == nil {
			return p, nil
		}
		if errors.Is(err, errDeadline) || errors.Is(err, sqltest.ErrNotInstalled) {
			break
		}
	}
	_ = os.RemoveAll(dir) // a leftover in the temporary directory harms nobody
	return nil, err
}

func (p *Postgres) start() error {
	cmd, err := sqltest.PostgresCommand(p.dir, p.Addr, "synchronous_commit=on")
	if err != nil {
		return err
	}
	path := filepath.Join(p.dir, "nemesis.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	defer closeLog(cmd)
	if p.proc, err = startProcess(cmd); err != nil {
		return err
	}
	proc := p.proc
	err = await(proc.context(), startLimit, "PostgreSQL", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, postgresURL(p.Addr))
		if err == nil {
			_ = conn.Close(ctx)
		}
		return err == nil
	})
	select {
	case <-proc.gone:
		text, _ := os.ReadFile(path)
		return fmt.Errorf("nemesis: PostgreSQL did not start: %s", text)
	default:
	}
	if err != nil {
		proc.Kill()
	}
	return err
}

func postgresURL(addr string) string {
	return "postgres://postgres@" + addr + "/postgres?sslmode=disable"
}

// Kill kills the server with SIGKILL: the process that listens and those that
// serve connections, which are groups of their own.
func (p *Postgres) Kill() {
	p.proc.Signal(syscall.SIGSTOP) // it starts no others, and its children keep their ids
	_ = await(p.proc.context(), time.Second, "PostgreSQL to stop", func() bool { return stopped(p.proc.Pid()) })
	pid := strconv.Itoa(p.proc.Pid())
	text, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children") // without it they end when they miss their parent
	for child := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
	p.proc.Kill()
}

// Restart starts a server that was killed, at the same address and with the same
// files.
func (p *Postgres) Restart() (err error) {
	p.proc.Kill()
	// It refuses as long as one of those before it is not quite gone.
	for began := time.Now(); ; {
		if err = p.start(); err == nil || time.Since(began) > startLimit || !pause(context.Background(), 20*time.Millisecond) {
			return err
		}
	}
}

// Close ends the server and removes its files.
func (p *Postgres) Close() {
	p.proc.Signal(syscall.SIGQUIT) // at once, but it gives its shared memory back
	timer := time.NewTimer(startLimit)
	defer timer.Stop()
	select {
	case <-p.proc.gone:
	case <-timer.C:
		p.Kill()
	}
	_ = os.RemoveAll(p.dir) // a leftover in the temporary directory harms nobody
}
