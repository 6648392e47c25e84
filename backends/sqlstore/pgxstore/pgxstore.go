// Package pgxstore is package sqlstore on a pool of pgx, for programs that do not
// use database/sql: the same tables, the same Store, and an Inbox whose work gets
// a pgx.Tx.
package pgxstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/claim"
)

// New returns a Store on pool, which stays the caller's to close. See
// sqlstore.New.
func New(ctx context.Context, pool *pgxpool.Pool, o *sqlstore.Options) (*sqlstore.Store, error) {
	if pool == nil {
		return nil, errNoPool
	}
	return sqlstore.NewClient(ctx, client{pool}, sqlstore.Postgres, o)
}

// Migrate brings the tables up to this version of the package. See
// sqlstore.Migrate.
func Migrate(ctx context.Context, pool *pgxpool.Pool, o *sqlstore.Options) error {
	if pool == nil {
		return errNoPool
	}
	return sqlstore.MigrateClient(ctx, client{pool}, sqlstore.Postgres, o)
}

// NewInbox returns an Inbox on pool, in which store has its tables. Nil options
// mean the defaults.
func NewInbox(store *sqlstore.Store, pool *pgxpool.Pool, o *sqlstore.InboxOptions) (*sqlstore.Inbox[pgx.Tx], error) {
	if pool == nil {
		return nil, errNoPool
	}
	options := pgx.TxOptions{}
	if o != nil {
		level, ok := levels[o.Isolation]
		if !ok {
			return nil, fmt.Errorf("pgxstore: %w: InboxOptions.Isolation is %v, which PostgreSQL has not", claim.ErrInvalid, o.Isolation)
		}
		options.IsoLevel = level
	}
	return sqlstore.NewInboxOn(store, func(ctx context.Context) (sqlstore.Transaction[pgx.Tx], error) {
		tx, err := pool.BeginTx(ctx, options)
		if err != nil {
			return sqlstore.Transaction[pgx.Tx]{}, err
		}
		return sqlstore.Transaction[pgx.Tx]{Tx: tx, Conn: OfTx(tx), Commit: tx.Commit, Rollback: tx.Rollback}, nil
	}, o)
}

// OfTx returns tx as a sqlstore.Conn, for Store.Publish.
func OfTx(tx pgx.Tx) sqlstore.Conn { return conn{tx, nil} }

var errNoPool = fmt.Errorf("pgxstore: %w: the pool is nil", claim.ErrInvalid)

var levels = map[sql.IsolationLevel]pgx.TxIsoLevel{
	sql.LevelDefault:        "",
	sql.LevelReadCommitted:  pgx.ReadCommitted,
	sql.LevelRepeatableRead: pgx.RepeatableRead,
	sql.LevelSerializable:   pgx.Serializable,
}

type client struct{ pool *pgxpool.Pool }

func (c client) Acquire(ctx context.Context) (sqlstore.Conn, error) {
	pooled, err := c.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return conn{pooled, pooled}, nil
}

// conn is a connection of the pool, or a transaction.
type conn struct {
	runner
	pooled *pgxpool.Conn // nil for a transaction
}

type runner interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

func (c conn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := c.runner.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (c conn) Query(ctx context.Context, query string, args []any, each func(scan func(dest ...any) error) error) error {
	rows, err := c.runner.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			rows.Close()
			return err
		}
	}
	rows.Close()
	return rows.Err()
}

func (c conn) Release(broken bool) {
	if c.pooled == nil {
		return
	}
	if broken {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("pgxstore: the connection is broken"))
		_ = c.pooled.Conn().Close(ctx) // without a farewell
	}
	c.pooled.Release()
}
