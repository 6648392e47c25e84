package sqlstore

import (
	"context"
	"fmt"

	"github.com/oncebus/once/claim"
)

// Dialect says which database is behind a *sql.DB.
type Dialect uint8

// The databases. The zero Dialect is invalid.
const (
	// Postgres is PostgreSQL 12 or newer.
	Postgres Dialect = iota + 1
	// MySQL is MariaDB, or MySQL 8 or newer, with InnoDB.
	MySQL
	// SQLite is SQLite 3.42 or newer.
	SQLite
)

// String returns the name of the database.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("dialect(%d)", uint8(d))
}

// folder is where the dialect's migrations are.
func (d Dialect) folder() string {
	return [...]string{Postgres: "postgres", MySQL: "mysql", SQLite: "sqlite"}[d]
}

// clock is the database's time in microseconds since 1970, as an expression. It
// must not depend on the session's time zone.
func (d Dialect) clock() string {
	return [...]string{
		Postgres: "(extract(epoch from statement_timestamp()) * 1000000)::bigint",
		MySQL:    "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6))",
		SQLite:   "cast(unixepoch('subsec') * 1000000 as integer)",
	}[d]
}

// bytes is b as an expression.
func (d Dialect) bytes(b []byte) string {
	if d == Postgres {
		return fmt.Sprintf("decode('%x', 'hex')", b)
	}
	return fmt.Sprintf("x'%x'", b)
}

// text is a statement in the making. PostgreSQL keeps plans of statements by their
// text, so values are arguments there.
type text struct {
	Dialect
	args []any
}

// bytes returns what stands for b in the statement.
func (t *text) bytes(b []byte) string {
	if t.Dialect != Postgres {
		return t.Dialect.bytes(b)
	}
	t.args = append(t.args, fmt.Sprintf("%x", b))
	return fmt.Sprintf("decode($%d::text, 'hex')", len(t.args))
}

// number returns what stands for n in the statement.
func (t *text) number(n int64) string {
	if t.Dialect != Postgres {
		return fmt.Sprint(n)
	}
	t.args = append(t.args, n)
	return fmt.Sprintf("$%d::bigint", len(t.args))
}

// table is what the databases do each in their own way.
type table interface {
	// read returns a statement that answers the time and the rows of the digests:
	// one row of selected at least, with an empty digest where there is none.
	read(digests []claim.Digest) (query string, args []any)

	// write carries out changes and sets applied in those whose row was as it had
	// been read. They are all inserts, or all updates. With an error nothing was
	// written if the server refused it, and otherwise nobody knows.
	write(ctx context.Context, conn Conn, changes []*change) error
}

// newTable returns the table of claims of a database.
func newTable(d Dialect, name, clock string) table {
	switch d {
	case Postgres:
		return newPostgresTable(name, clock)
	case MySQL:
		return &mysqlTable{literalTable{name, clock}}
	default:
		return &sqliteTable{literalTable{name, clock}}
	}
}
