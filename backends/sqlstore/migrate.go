package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"strings"

	"github.com/oncebus/once/claim"
)

//go:embed migrations
var migrationFiles embed.FS

// migrationNames are the files in each dialect's folder, by version from 1 on.
var migrationNames = [...]string{"1_claims.sql", "2_outbox.sql"}

// Migration is one step of the schema.
type Migration struct {
	// Version is 1 for the first.
	Version int
	// Name says what it makes.
	Name string
	// SQL are its statements, each ended by a semicolon and a new line. The last
	// one records the version.
	SQL string
}

// Migrations returns all steps of the schema in their order, for the program's
// own migration tool. Nil options mean the default prefix.
func Migrations(dialect Dialect, o *Options) ([]Migration, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if dialect < Postgres || dialect > SQLite {
		return nil, invalid("%v is none of Postgres, MySQL and SQLite", dialect)
	}
	var all []Migration
	for i, name := range migrationNames {
		text, err := migrationFiles.ReadFile("migrations/" + dialect.folder() + "/" + name)
		if err != nil {
			return nil, err
		}
		title, _, _ := strings.Cut(name[2:], ".")
		all = append(all, Migration{Version: i + 1, Name: title, SQL: strings.ReplaceAll(string(text), defaultPrefix, opts.Prefix)})
	}
	return all, nil
}

// Migrate brings the tables up to this version of the package. It is safe to run
// at every start and by several processes at once; with nothing to do it changes
// nothing. The database's user must be allowed to create tables.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, o *Options) error {
	if db == nil {
		return invalid("the database is nil")
	}
	return MigrateClient(ctx, OfDB(db), dialect, o)
}

// MigrateClient is Migrate for another client than database/sql's.
func MigrateClient(ctx context.Context, client Client, dialect Dialect, o *Options) error {
	all, err := Migrations(dialect, o)
	if err != nil {
		return err
	}
	opts, _ := o.withDefaults()
	for try := 1; ; try++ {
		err = migrate(ctx, client, dialect, opts.Prefix, all)
		if err == nil || !transient(err) || try == maxTries || !pause(ctx, try) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("sqlstore: Migrate: %w", unavailable(ctx, err))
	}
	return nil
}

// migrate runs the steps that the database has not had, in one transaction where
// the database can do that, and one process at a time. MySQL commits at each
// statement; its statements may be run again.
func migrate(ctx context.Context, client Client, dialect Dialect, prefix string, all []Migration) (err error) {
	conn, err := client.Acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { conn.Release(err != nil) }()
	begin, end := []string{"BEGIN"}, "COMMIT"
	switch dialect {
	case Postgres:
		begin = append(begin, "SELECT pg_advisory_xact_lock(7239045283)")
	case MySQL:
		begin, end = []string{"SELECT get_lock('once_migrations', 60)"}, "SELECT release_lock('once_migrations')"
	case SQLite:
		begin = []string{"BEGIN IMMEDIATE"}
	}
	begin = append(begin, "CREATE TABLE IF NOT EXISTS "+prefix+"schema (version INTEGER NOT NULL PRIMARY KEY)")
	for _, statement := range begin {
		if err := run(ctx, conn, statement); err != nil {
			return err
		}
	}
	version, err := schemaVersion(ctx, conn, prefix)
	if err != nil {
		return err
	}
	for _, m := range all[min(version, len(all)):] {
		for statement := range strings.SplitSeq(m.SQL, ";\n") {
			if statement = strings.TrimSpace(statement); statement == "" {
				continue
			}
			if err := run(ctx, conn, statement); err != nil {
				return fmt.Errorf("version %d: %w", m.Version, err)
			}
		}
	}
	return run(ctx, conn, end)
}

// run runs a statement and forgets what it returns.
func run(ctx context.Context, conn Conn, statement string) error {
	return conn.Query(ctx, statement, nil, func(func(...any) error) error { return nil })
}

func schemaVersion(ctx context.Context, conn Conn, prefix string) (version int, err error) {
	err = conn.Query(ctx, "SELECT coalesce(max(version), 0) FROM "+prefix+"schema", nil, func(scan func(...any) error) error {
		return scan(&version)
	})
	return version, err
}

// check looks whether the tables are there and whether a statement commits by
// itself.
func (s *Store) check(ctx context.Context) error {
	version := 0
	err := s.look(ctx, func(conn Conn) (err error) {
		if version, err = schemaVersion(ctx, conn, s.prefix); err != nil || s.dialect != MySQL {
			return err
		}
		var auto int
		if err := conn.Query(ctx, "SELECT @@autocommit", nil, func(scan func(...any) error) error { return scan(&auto) }); err != nil {
			return err
		}
		if auto == 0 {
			return fmt.Errorf("autocommit is off: %w", claim.ErrCorrupt)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlstore: the tables %s* of %v cannot be read; Migrate makes them: %w", s.prefix, s.dialect, err)
	}
	if version < len(migrationNames) {
		return fmt.Errorf("sqlstore: the tables %s* are of version %d and this package needs %d; run Migrate: %w",
			s.prefix, version, len(migrationNames), claim.ErrUnavailable)
	}
	return nil
}
