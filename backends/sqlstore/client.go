package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// Client is the program's database client as the store uses it: a *sql.DB, in
// New, or another one through a package of its own.
type Client interface {
	// Acquire returns a connection for one operation or one batch. After an error
	// nothing was sent.
	Acquire(ctx context.Context) (Conn, error)
}

// Conn is a connection, or a transaction on one. Statements that are run on a
// connection commit by themselves.
type Conn interface {
	// Exec runs a statement and returns how many rows it changed.
	Exec(ctx context.Context, query string, args ...any) (rows int64, err error)
	// Query runs a statement and calls each for every row that it returns, with
	// what scans it.
	Query(ctx context.Context, query string, args []any, each func(scan func(dest ...any) error) error) error
	// Release gives the connection back to its pool, or ends it when it is broken.
	// On a transaction it does nothing.
	Release(broken bool)
}

// OfDB returns db as a Client.
func OfDB(db *sql.DB) Client { return sqlClient{db} }

type sqlClient struct{ db *sql.DB }

func (c sqlClient) Acquire(ctx context.Context) (Conn, error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return sqlConn{conn, conn}, nil
}

// sqlConn is a *sql.Conn or a *sql.Tx.
type sqlConn struct {
	sqlRunner
	conn *sql.Conn // nil for a transaction
}

type sqlRunner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (c sqlConn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := c.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c sqlConn) Query(ctx context.Context, query string, args []any, each func(scan func(...any) error) error) error {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			_ = rows.Close()
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (c sqlConn) Release(broken bool) {
	if c.conn == nil {
		return
	}
	if broken {
		_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = c.conn.Close()
}
