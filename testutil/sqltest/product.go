package sqltest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// product is a database that runs as a server.
type product struct {
	name    string
	install string // what to install
	programs
	users  []string // under one of which it runs when the tests run as root
	driver string
	admin  string // a database that every server has
	dsn    func(addr, database string) string
	ready  string         // what the log says when it takes connections
	crash  syscall.Signal // ends the server without tidying up
	// arguments of the two programs
	making  func(dir string) []string
	running func(dir, host, port string) []string

	once     sync.Once
	template string // a data directory
	err      error
}

// programs are the two that a product has: one makes a data directory, one runs.
type programs struct{ maker, server string }

var postgres = &product{
	name:     "PostgreSQL",
	install:  "postgresql",
	programs: programs{"initdb", "postgres"},
	users:    []string{"postgres", "nobody"},
	driver:   "pgx",
	admin:    "postgres",
	dsn: func(addr, database string) string {
		return "postgres://postgres@" + addr + "/" + database + "?sslmode=disable"
	},
	ready: "database system is ready to accept connections",
	// It has processes of its own, which it kills.
	crash: syscall.SIGQUIT,
	making: func(dir string) []string {
		return []string{"-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"}
	},
	running: func(dir, host, port string) []string {
		args := []string{"-D", dir, "-p", port}
		for _, setting := range []string{
			"listen_addresses=" + host, "unix_socket_directories=", "max_connections=200", "shared_buffers=64MB",
			"fsync=off", "full_page_writes=off", "deadlock_timeout=100ms",
		} {
			args = append(args, "-c", setting)
		}
		return args
	},
}

// mariadb is what all tests of MySQL's dialect run on: MySQL itself where
// ONCE_MYSQLD names its server.
var mariadb = mariadbOrMySQL(os.Getenv("ONCE_MYSQLD"))

func mariadbOrMySQL(mysqld string) *product {
	if mysqld == "" {
		return &mariadbServer
	}
	return &product{
		name:     "MySQL",
		install:  "what ONCE_MYSQLD names",
		programs: programs{mysqld, mysqld},
		users:    mariadbServer.users,
		driver:   mariadbServer.driver,
		admin:    mariadbServer.admin,
		dsn:      mariadbServer.dsn,
		ready:    "mysqld: ready for connections",
		crash:    mariadbServer.crash,
		making: func(dir string) []string {
			return []string{"--no-defaults", "--datadir=" + dir, "--initialize-insecure", "--innodb-redo-log-capacity=32M"}
		},
		running: func(dir, host, port string) []string {
			return []string{
				"--no-defaults", "--datadir=" + dir, "--bind-address=" + host, "--port=" + port, "--socket=" + filepath.Join(dir, "socket"),
				"--tmpdir=" + dir, // at its start a server deletes what others have in theirs
				"--pid-file=" + filepath.Join(dir, "pid"), "--max-connections=300", "--innodb-redo-log-capacity=32M",
				"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--skip-log-bin", "--mysqlx=OFF", "--secure-file-priv=NULL",
			}
		},
	}
}

var mariadbServer = product{
	name:     "MariaDB",
	install:  "mariadb-server",
	programs: programs{"mariadb-install-db", "mariadbd"},
	users:    []string{"mysql", "nobody"},
	driver:   "mysql",
	admin:    "mysql",
	dsn:      func(addr, database string) string { return "root@tcp(" + addr + ")/" + database },
	ready:    "ready for connections",
	crash:    syscall.SIGKILL,
	making: func(dir string) []string {
		return []string{"--no-defaults", "--datadir=" + dir, "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=16M"}
	},
	running: func(dir, host, port string) []string {
		return []string{
			"--no-defaults", "--datadir=" + dir, "--bind-address=" + host, "--port=" + port, "--socket=" + filepath.Join(dir, "socket"),
			"--tmpdir=" + dir, // at its start a server deletes what others have in theirs
			"--pid-file=" + filepath.Join(dir, "pid"), "--skip-name-resolve", "--max-connections=300", "--innodb-log-file-size=16M",
			"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--skip-log-bin",
		}
	},
}

// find returns the path of a program, also where Debian puts PostgreSQL's.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/local/sbin/"} {
		if found, _ := filepath.Glob(pattern + program); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", err
}

// ErrNotInstalled is returned where a database's programs are not.
var ErrNotInstalled = errors.New("not installed")

// missing fails with ErrNotInstalled where the product is not installed.
func (p *product) missing() error {
	for _, program := range []string{p.maker, p.server} {
		if _, err := find(program); err != nil {
			return fmt.Errorf("no %s: %w: install %s", p.name, ErrNotInstalled, p.install)
		}
	}
	return nil
}

// require skips or fails a test when the product is not installed.
func (p *product) require(t testing.TB) {
	t.Helper()
	if err := p.missing(); err == nil {
		return
	} else if os.Getenv("ONCE_REQUIRE_SERVERS") == "1" {
		t.Fatalf("sqltest: %v", err)
	} else {
		t.Skipf("sqltest: %v", err)
	}
}

// command returns one of the product's programs as it is to be run: by root under
// another user, in dir, which that user then owns.
func (p *product) command(program, dir string, args []string) (*exec.Cmd, error) {
	path, err := find(program)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if os.Geteuid() != 0 {
		return cmd, nil
	}
	for _, name := range p.users {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return cmd, os.Chown(dir, int(uid), int(gid))
	}
	return nil, fmt.Errorf("%s does not run as root, and there is none of the users %v", p.name, p.users)
}

// copyOfOne makes a data directory in dir: a copy of one that is made once.
func (p *product) copyOfOne(dir string) error {
	p.once.Do(func() {
		if p.template, p.err = os.MkdirTemp("", "sqltest-"); p.err == nil {
			p.err = p.make(p.template)
		}
	})
	if p.err != nil {
		return p.err
	}
	if out, err := exec.Command("cp", "-a", p.template+"/.", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w:\n%s", err, out)
	}
	return nil
}

// make makes a data directory in dir.
func (p *product) make(dir string) error {
	cmd, err := p.command(p.maker, dir, p.making(dir))
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", p.maker, err, out)
	}
	return nil
}

// run runs the server, with args after the product's.
func (p *product) run(dir, addr string, args []string) (*process, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cmd, err := p.command(p.server, dir, append(p.running(dir, host, port), args...))
	if err != nil {
		return nil, err
	}
	return launch(cmd, p.ready)
}

// PostgresCommand returns the command of a PostgreSQL, with settings such as
// "fsync=on" after those of the tests, for a program that runs it itself. In dir it
// keeps its files, which are made where there are none. Where root asks, they
// belong to another user, who must be able to reach dir.
func PostgresCommand(dir, addr string, settings ...string) (*exec.Cmd, error) {
	err := postgres.missing()
	if _, none := os.Stat(filepath.Join(dir, "PG_VERSION")); err == nil && none != nil {
		err = postgres.make(dir)
	}
	var host, port string
	if err == nil {
		host, port, err = net.SplitHostPort(addr)
	}
	if err != nil {
		return nil, fmt.Errorf("sqltest: %w", err)
	}
	return postgres.command(postgres.server, dir, append(postgres.running(dir, host, port), asArgs(settings)...))
}

func asArgs(settings []string) (args []string) {
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}
