package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/oncebus/once/claim"
)

// Store keeps claims in a database. It is safe for concurrent use, holds no
// connection of its own and needs no closing. It implements claim.Store,
// claim.Batcher and claim.Inspector.
type Store struct {
	client   Client
	dialect  Dialect
	prefix   string
	clock    string
	table    table
	maxBatch int
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// New returns a Store on db, which stays the caller's to close, and whose tables
// Migrate has made. It fails with an error that matches claim.ErrUnavailable when
// the database cannot be reached or has no such tables, or older ones, and with
// claim.ErrInvalid when an option is out of its range.
func New(ctx context.Context, db *sql.DB, dialect Dialect, o *Options) (*Store, error) {
	if db == nil {
		return nil, invalid("the database is nil")
	}
	return NewClient(ctx, OfDB(db), dialect, o)
}

// NewClient is New for another client than database/sql's.
func NewClient(ctx context.Context, client Client, dialect Dialect, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if dialect < Postgres || dialect > SQLite {
		return nil, invalid("%v is none of Postgres, MySQL and SQLite", dialect)
	}
	s := &Store{client: client, dialect: dialect, prefix: opts.Prefix, maxBatch: opts.MaxBatch}
	s.setClock(dialect.clock())
	return s, s.check(ctx)
}

// setClock makes the store judge by the time that an expression has.
func (s *Store) setClock(expression string) {
	s.clock = expression
	s.table = newTable(s.dialect, s.claims(), expression)
}

// claims is the name of the table of records.
func (s *Store) claims() string { return s.prefix + "claims" }

// TryClaim implements claim.Store.
func (s *Store) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	s.applyOne(ctx, &op)
	return op.Verdict, op.Err
}

// Extend implements claim.Store.
func (s *Store) Extend(ctx context.Context, key claim.Key, grant claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: grant, TTL: ttl}
	s.applyOne(ctx, &op)
	return op.Err
}

// MarkDone implements claim.Store.
func (s *Store) MarkDone(ctx context.Context, key claim.Key, grant claim.Grant, c claim.Completion) (recovered bool, err error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: grant, Completion: c}
	s.applyOne(ctx, &op)
	return op.Recovered, op.Err
}

// MarkDead implements claim.Store.
func (s *Store) MarkDead(ctx context.Context, key claim.Key, grant claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: grant, Reason: reason}
	s.applyOne(ctx, &op)
	return op.Err
}

// Release implements claim.Store.
func (s *Store) Release(ctx context.Context, key claim.Key, grant claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: grant, TTL: delay}
	s.applyOne(ctx, &op)
	return op.Err
}

// Forget implements claim.Inspector.
func (s *Store) Forget(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.applyOne(ctx, &op)
	return op.Err
}

// Revive implements claim.Inspector.
func (s *Store) Revive(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.applyOne(ctx, &op)
	return op.Err
}
