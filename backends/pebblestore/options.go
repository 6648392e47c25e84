package pebblestore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncebus/once/claim"
)

// Sync says which answers wait until the disk has them.
type Sync uint8

// The policies. None of them breaks a record: a crash loses whole operations, the
// last ones first.
const (
	// SyncAll keeps every answer over a crash of the machine.
	SyncAll Sync = iota
	// SyncEnds keeps completions, dead records, releases and repairs, and does not
	// wait for claims and extensions. What a crash loses of those is claimed
	// again, as it would be after its lease, but its attempt is not counted: a
	// message that crashes the process each time is not given up. About half the
	// syncs.
	SyncEnds
	// SyncNone waits for nothing. A crash, of the process too, loses the answers
	// of the last moments; their messages run again if the bus delivers them.
	SyncNone
)

// Options are the settings of a Store. The zero value, like nil, is ready to
// use.
type Options struct {
	// Sync says which answers wait until the disk has them. Defaults to SyncAll.
	Sync Sync

	// Span is how long a generation of records is, from a minute to 30 days. An id
	// takes disk for up to a Span longer than its retention; and a claim of a new
	// key looks into one filter for each Span of the longest retention in use, so
	// that an eighth of that retention is a good Span. It is fixed when the
	// directory is made. Defaults to 6 hours.
	Span time.Duration

	// CacheBytes is the memory for blocks and filters that are read, from 1 MB up.
	// Filters take 1.25 bytes an id; a claim of a new key is slow when they do not
	// fit. Defaults to 64 MiB.
	CacheBytes int64

	// Logger is told, at the level warn, when the wall clock is behind the time at
	// which the store was closed, and of what Pebble reports as an error. Defaults
	// to slog.Default().
	Logger *slog.Logger

	// Now is the clock. It is called with a lock held, so it must be quick and
	// must not call the store. Defaults to time.Now.
	Now func() time.Time

	// fs is the disk, for tests.
	fs vfs.FS
}

const (
	defaultSpan       = 6 * time.Hour
	defaultCacheBytes = 64 << 20

	minSpan       = time.Minute
	maxSpan       = 30 * 24 * time.Hour
	minCacheBytes = 1 << 20
)

// withDefaults returns a checked copy of o.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Span == 0 {
		c.Span = defaultSpan
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.fs == nil {
		c.fs = vfs.Default
	}
	switch {
	case c.Sync > SyncNone:
		return c, invalid("Sync is %d, want SyncAll, SyncEnds or SyncNone", c.Sync)
	case c.Span < minSpan || c.Span > maxSpan:
		return c, invalid("Span is %v, want %v to %v", c.Span, minSpan, maxSpan)
	case c.CacheBytes < minCacheBytes:
		return c, invalid("CacheBytes is %d, want %d or more", c.CacheBytes, minCacheBytes)
	}
	return c, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("pebblestore: %w: Options.%s", claim.ErrInvalid, fmt.Sprintf(format, args...))
}
