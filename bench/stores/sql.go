//go:build linux

package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/testutil/sqltest"
)

// The servers' settings: what a small machine would be given, and the disk waited
// for.
var (
	postgresSettings = []string{"fsync=on", "full_page_writes=on", "shared_buffers=1GB", "max_wal_size=4GB", "wal_level=replica"}
	mariadbSettings  = []string{"innodb-buffer-pool-size=1G", "innodb-log-file-size=1G", "innodb-flush-log-at-trx-commit=1"}
)

// table is what the part of rows needs of an SQL store.
type table struct {
	db *sql.DB
	// rows is the statement that inserts finished ids, with a format's places for the
	// first number and the last.
	rows string
	// settle are statements to be carried out before sizes are asked for.
	settle []string
	// clean deletes up to limit records that are over.
	clean func(ctx context.Context, limit int) (int, error)
}

// dialects are the tables of the databases.
var dialects = map[sqlstore.Dialect]table{
	sqlstore.Postgres: {
		rows: "INSERT INTO once_claims (digest, state, flags, fence, expires) " +
			"SELECT decode(md5(i::text), 'hex'), 3, 0, i %% 10000, " +
			"CASE WHEN i %% 1000 = 0 THEN i ELSE (extract(epoch from now()) * 1000000)::bigint + 86400000000 + i END " +
			"FROM generate_series(%d, %d) AS i",
		settle: []string{"VACUUM ANALYZE once_claims", "CHECKPOINT"},
	},
	sqlstore.MySQL: {
		rows: "INSERT INTO once_claims (digest, state, flags, fence, expires) " +
			"SELECT unhex(md5(seq)), 3, 0, seq %% 10000, " +
			"CASE WHEN seq %% 1000 = 0 THEN seq ELSE unix_timestamp() * 1000000 + 86400000000 + seq END FROM seq_%d_to_%d",
		settle: []string{"ANALYZE TABLE once_claims"},
	},
	// SQLite has no digests. A product with an odd number, modulo a power of two, is
	// another one for each, and in no order.
	sqlstore.SQLite: {
		rows: "INSERT INTO once_claims (digest, state, flags, fence, expires) " +
			"WITH RECURSIVE r (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM r WHERE i < %d) " +
			"SELECT unhex(printf('%%08x%%08x%%016x', i * 2654435761 %% 4294967296, i, i)), 3, 0, i %% 10000, " +
			"CASE WHEN i %% 1000 = 0 THEN i ELSE unixepoch() * 1000000 + 86400000000 + i END FROM r",
		settle: []string{"PRAGMA wal_checkpoint(TRUNCATE)", "ANALYZE"},
	},
}

// connections is how many a pool has. SQLite's has one: its log grows while anybody
// reads.
const connections = 32

// server returns a server that the run's candidates share, started by run.
func (b *bench) server(name string, run func(...string) (*sqltest.Server, func(), error), settings []string) (*sqltest.Server, error) {
	if s := b.servers[name]; s != nil {
		return s, nil
	}
	s, stop, err := run(settings...)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, stop)
	b.servers[name] = s
	return s, nil
}

func (b *bench) openPostgres(synchronous string) (*opened, error) {
	server, err := b.server("PostgreSQL", sqltest.RunPostgres, postgresSettings)
	if err != nil {
		return nil, err
	}
	d, err := server.NewDatabase(b.ctx)
	if err != nil {
		return nil, err
	}
	d.DSN += "&synchronous_commit=" + synchronous
	return b.openSQL(d, sqlstore.Postgres, "SELECT pg_total_relation_size('once_claims'), pg_indexes_size('once_claims')")
}

func (b *bench) openMariaDB(flush int) (*opened, error) {
	server, err := b.server("MariaDB", sqltest.RunMariaDB, mariadbSettings)
	if err != nil {
		return nil, err
	}
	d, err := server.NewDatabase(b.ctx)
	if err != nil {
		return nil, err
	}
	o, err := b.openSQL(d, sqlstore.MySQL, "SELECT data_length + index_length, index_length FROM information_schema.tables "+
		"WHERE table_schema = database() AND table_name = 'once_claims'", "ANALYZE TABLE once_claims", fmt.Sprintf("SET GLOBAL innodb_flush_log_at_trx_commit = %d", flush))
	return o, err
}

func (b *bench) openSQLite(synchronous string) (*opened, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	d := sqltest.Database{Driver: "sqlite", DSN: "file:" + filepath.Join(dir, "once.db") +
		"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + synchronous + ")"}
	return b.openSQL(d, sqlstore.SQLite, "SELECT page_count * page_size, 0 FROM pragma_page_count(), pragma_page_size()")
}

// openSQL opens a store whose table has the size that query answers, after the
// statements that come before it.
func (b *bench) openSQL(d sqltest.Database, dialect sqlstore.Dialect, query string, before ...string) (*opened, error) {
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		return nil, err
	}
	pool := connections
	if dialect == sqlstore.SQLite {
		pool = 1
	}
	db.SetMaxOpenConns(pool)
	db.SetMaxIdleConns(pool)
	o := &sqlstore.Options{MaxBatch: 1000}
	err = sqlstore.Migrate(b.ctx, db, dialect, o)
	var s *sqlstore.Store
	if err == nil {
		s, err = sqlstore.New(b.ctx, db, dialect, o)
	}
	prepare := func() error {
		for _, statement := range before {
			if _, err := db.ExecContext(b.ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}
	if err == nil {
		err = prepare()
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	rows := dialects[dialect]
	rows.db, rows.clean = db, s.Clean
	return &opened{
		store: s,
		sql:   &rows,
		size: func() (bytes, indexes int64, err error) {
			if err = prepare(); err == nil {
				err = db.QueryRowContext(b.ctx, query).Scan(&bytes, &indexes)
			}
			return bytes, indexes, err
		},
		cleaner: func(ctx context.Context) error {
			return s.RunCleaner(ctx, &sqlstore.CleanerOptions{Every: 100 * time.Millisecond, Logger: quiet()})
		},
		// One statement: what ends while it runs is not over yet.
		left:  func(ctx context.Context) (int, error) { return s.Clean(ctx, 1_000_000) },
		close: func() { _ = db.Close() },
	}, nil
}
