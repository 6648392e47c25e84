package sqlstore

import (
	"fmt"
	"regexp"

	"github.com/oncebus/once/claim"
)

// Options are the settings of a Store. The zero value, like nil, is ready to
// use.
type Options struct {
	// Prefix stands before the names of all tables: lower-case letters, digits and
	// underscores, at most 32 of them, the first one no digit. Programs that share
	// records must have the same one. Defaults to "once_".
	Prefix string

	// MaxBatch is how many records one statement reads or writes at most, from 1
	// to 1,000. Defaults to 256.
	MaxBatch int

	// NoCombining sends every call of a single operation by itself. Otherwise calls
	// that are made while others are on their way to the database wait for each
	// other, for a millisecond at most while there is a connection for them, and
	// share statements and commits; see claim.Combiner. A lone caller notices
	// nothing, and many get several times the throughput with eight connections.
	// What it costs: a row that another program holds locked keeps waiting those
	// that share its statement, each for as long as its own context lasts.
	NoCombining bool
}

const (
	defaultPrefix   = "once_"
	defaultMaxBatch = 256
	maxMaxBatch     = 1000
)

var prefixes = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)

// withDefaults returns a checked copy with the defaults filled in.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = defaultMaxBatch
	}
	switch {
	case !prefixes.MatchString(c.Prefix):
		return c, invalid("Options.Prefix is %q, want lower-case letters, digits and underscores, at most 32", c.Prefix)
	case c.MaxBatch < 1 || c.MaxBatch > maxMaxBatch:
		return c, invalid("Options.MaxBatch is %d, want 1 to %d", c.MaxBatch, maxMaxBatch)
	}
	return c, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("sqlstore: %w: %s", claim.ErrInvalid, fmt.Sprintf(format, args...))
}
