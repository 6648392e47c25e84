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

// connections is how many a pool has.
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
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
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
	return &opened{
		store: s,
		db:    db,
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
		clean: s.Clean,
		close: func() { _ = db.Close() },
	}, nil
}
