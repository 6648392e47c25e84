package sqlstore

import (
	"context"
	"database/sql"

	"github.com/oncebus/once/claim"
)

// Store keeps claims in a database. It is safe for concurrent use, holds no
// connection of its own and needs no closing. It implements claim.Store,
// claim.Batcher and claim.Inspector.
type Store struct {
	// Combiner has the methods of a single operation: those of callers side by
	// side become batches.
	*claim.Combiner

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
	combine := claim.CombinerOptions{MaxBatch: opts.MaxBatch}
	if opts.NoCombining {
		combine.MaxBatch = 1
	}
	if dialect == SQLite {
		combine.MaxFlights = 1 // it has one writer
	}
	if s.Combiner, err = claim.NewCombiner(s, &combine); err != nil {
		return nil, err
	}
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
