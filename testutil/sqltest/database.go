package sqltest

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// Database is an empty database that no other test has.
type Database struct {
	// Driver is the name of its database/sql driver: "pgx", "mysql" or "sqlite".
	Driver string
	// DSN is what Driver opens it with.
	DSN string
}

// Open returns a pool of connections that is closed with the test.
func (d Database) Open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		t.Fatalf("sqltest: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// SQLite returns a database in a file, whose connections wait for one another.
func SQLite(t testing.TB) Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "once.db")
	return Database{"sqlite", "file:" + path + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"}
}

var memories atomic.Int64

// SQLiteMemory returns a database in memory, which lives as long as the test: a
// connection of its own keeps it when a program drops the one that it has, as it
// does with one whose statement was interrupted. Let it have one connection.
func SQLiteMemory(t testing.TB) Database {
	t.Helper()
	d := Database{"sqlite", fmt.Sprintf("file:memory%d?mode=memory&cache=shared", memories.Add(1))}
	if err := d.Open(t).PingContext(t.Context()); err != nil { // it stays in its pool
		t.Fatalf("sqltest: %v", err)
	}
	return d
}

// shared are the servers of the test binary.
var shared struct {
	mu      sync.Mutex
	servers map[string]*Server
}

// Postgres returns a database on the PostgreSQL that the tests share.
func Postgres(t testing.TB) Database {
	t.Helper()
	return common(t, postgres).Database(t)
}

// MariaDB returns a database on the MariaDB that the tests share.
func MariaDB(t testing.TB) Database {
	t.Helper()
	return common(t, mariadb).Database(t)
}

func common(t testing.TB, p *product) *Server {
	t.Helper()
	p.require(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if s := shared.servers[p.name]; s != nil {
		return s
	}
	s, err := start(p, p.copyOfOne)
	if err != nil {
		t.Fatalf("sqltest: %v", err)
	}
	if shared.servers == nil {
		shared.servers = map[string]*Server{}
	}
	shared.servers[p.name] = s
	return s
}

// Main runs the tests of a package and ends the servers that they shared. Call it
// from TestMain, with what else there is to do as run.
func Main(run func() int) {
	code := run()
	shared.mu.Lock()
	for _, s := range shared.servers {
		s.end()
	}
	shared.mu.Unlock()
	for _, p := range []*product{postgres, mariadb} {
		if p.template != "" {
			_ = os.RemoveAll(p.template)
		}
	}
	os.Exit(code)
}
