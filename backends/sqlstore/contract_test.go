package sqlstore_test

import (
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/sequences"
	"github.com/oncebus/once/testutil/sqltest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = mysql.SetLogger(log.New(io.Discard, "", 0)) // connections break here on purpose
	sqltest.Main(func() int {
		code := m.Run()
		if err := goleak.Find(goleak.IgnoreTopFunction("bufio.(*Scanner).Scan"), goleak.IgnoreAnyFunction("github.com/oncebus/once/testutil/sqltest.launch.func1")); err != nil && code == 0 {
			fmt.Println(err)
			return 1
		}
		return code
	})
}

// database is one on which everything is tested.
type database struct {
	name    string
	dialect sqlstore.Dialect
	make    func(t testing.TB) sqltest.Database
	// single says that it must have one connection.
	single bool
}

var databases = []database{
	{"SQLite file", sqlstore.SQLite, sqltest.SQLite, false},
	{"SQLite memory", sqlstore.SQLite, sqltest.SQLiteMemory, true},
	{"PostgreSQL", sqlstore.Postgres, sqltest.Postgres, false},
	{"MariaDB", sqlstore.MySQL, sqltest.MariaDB, false},
}

// each runs a test on every database.
func each(t *testing.T, run func(t *testing.T, d database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { run(t, d) })
	}
}

// open returns a pool of connections to an empty database.
func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db := d.make(t).Open(t)
	if d.single {
		db.SetMaxOpenConns(1)
	}
	return db
}

var prefixes atomic.Int64

// store returns a Store with tables of its own in db.
func (d database) store(t testing.TB, db *sql.DB) *sqlstore.Store {
	t.Helper()
	return d.storeWith(t, db, &sqlstore.Options{Prefix: fmt.Sprintf("t%d_", prefixes.Add(1))})
}

func (d database) storeWith(t testing.TB, db *sql.DB, o *sqlstore.Options) *sqlstore.Store {
	t.Helper()
	if err := sqlstore.Migrate(t.Context(), db, d.dialect, o); err != nil {
		t.Fatal(err)
	}
	s, err := sqlstore.New(t.Context(), db, d.dialect, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// stopped makes the store's time one that stands still until it is moved: a row
// of a table.
func stopped(t testing.TB, db *sql.DB, s *sqlstore.Store) (advance func(time.Duration)) {
	t.Helper()
	table := fmt.Sprintf("clock%d", prefixes.Add(1))
	exec(t, db, fmt.Sprintf("CREATE TABLE %s (now bigint NOT NULL)", table))
	exec(t, db, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC).UnixMicro()))
	sqlstore.SetClock(s, fmt.Sprintf("(SELECT max(now) FROM %s)", table))
	return func(d time.Duration) {
		exec(t, db, fmt.Sprintf("UPDATE %s SET now = now + %d", table, d.Microseconds()))
	}
}

// onStoppedClock returns harnesses on one database. Tables are made once, and
// emptied for each.
func onStoppedClock(t *testing.T, d database) func(testing.TB) *claimtest.Harness {
	db := d.open(t)
	o := &sqlstore.Options{Prefix: "once_"}
	store := d.storeWith(t, db, o)
	advance := stopped(t, db, store)
	return func(t testing.TB) *claimtest.Harness {
		exec(t, db, "DELETE FROM once_claims")
		return &claimtest.Harness{Store: store, Advance: advance, Unit: time.Second}
	}
}

func TestContract(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		if d.single {
			t.Skip("the same as in a file; the sequences run on both")
		}
		claimtest.Run(t, onStoppedClock(t, d))
	})
}

func TestRandomSequences(t *testing.T) {
	each(t, func(t *testing.T, d database) { sequences.Run(t, onStoppedClock(t, d)) })
}

var quiet = slog.New(slog.DiscardHandler)

var ids atomic.Int64

// newKey returns a key that no other call returns.
func newKey(t testing.TB) claim.Key {
	t.Helper()
	key, err := claim.NewKey("test", "consumer", claim.MessageID(fmt.Sprintf("message-%d", ids.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRequest() claim.Request {
	return claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
}
