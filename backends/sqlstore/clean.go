package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Clean deletes up to limit records that are over, those first that ended first,
// and returns how many there were. It takes no lock that another statement waits
// for longer than for this one.
func (s *Store) Clean(ctx context.Context, limit int) (deleted int, err error) {
	if limit < 1 {
		return 0, invalid("Clean: the limit is %d, want 1 or more", limit)
	}
	over := fmt.Sprintf("expires <= %s ORDER BY expires LIMIT %d", s.clock, limit)
	statement := fmt.Sprintf("DELETE FROM %s WHERE %s", s.claims(), over)
	if s.dialect != MySQL {
		skip := ""
		if s.dialect == Postgres {
			skip = " FOR UPDATE SKIP LOCKED"
		}
		// The database may read the clock anew for each row: expires is indexed only
		// against a value.
		over = fmt.Sprintf("expires <= (SELECT %s) ORDER BY expires LIMIT %d", s.clock, limit)
		statement = fmt.Sprintf("DELETE FROM %s WHERE digest IN (SELECT digest FROM %s WHERE %s%s)", s.claims(), s.claims(), over, skip)
	}
	err = s.look(ctx, func(conn Conn) error {
		n, err := conn.Exec(ctx, statement)
		deleted = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlstore: Clean: %w", err)
	}
	return deleted, nil
}

// CleanerOptions are the settings of RunCleaner. The zero value, like nil, is
// ready to use.
type CleanerOptions struct {
	// Every is how long to wait when nothing is left to delete. Defaults to 10 s.
	Every time.Duration
	// Batch is how many records one statement deletes, at most. Defaults to 500.
	Batch int
	// Pause is how long to wait after a statement that found so many. Defaults to
	// 50 ms.
	Pause time.Duration
	// Logger is told of failures. Defaults to slog.Default().
	Logger *slog.Logger
}

// RunCleaner deletes records that are over until ctx ends, in small batches and in
// one process of those that run it. Without it the table grows: run it beside the
// consumers, or call Clean by a job of your own. It returns nil when ctx ends.
func (s *Store) RunCleaner(ctx context.Context, o *CleanerOptions) error {
	var c CleanerOptions
	if o != nil {
		c = *o
	}
	if c.Every == 0 {
		c.Every = 10 * time.Second
	}
	if c.Batch == 0 {
		c.Batch = 500
	}
	if c.Pause == 0 {
		c.Pause = 50 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Every < 0 || c.Batch < 0 || c.Pause < 0 {
		return invalid("CleanerOptions has a negative Every (%v), Batch (%d) or Pause (%v)", c.Every, c.Batch, c.Pause)
	}
	return s.lead(ctx, "cleaner", c.Every, c.Logger, func(ctx context.Context) (more bool, err error) {
		deleted, err := s.Clean(ctx, c.Batch)
		return err == nil && deleted == c.Batch && wait(ctx, c.Pause), err
	})
}
