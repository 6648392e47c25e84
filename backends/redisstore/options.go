package redisstore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/oncebus/once/claim"
)

// Options are the settings of a Store. The zero value, like nil, is ready to
// use.
type Options struct {
	// Prefix stands before every key. Stores that share records must have the
	// same one. At most 128 bytes. With a hash tag in it ("{once}:") all keys of
	// a Redis Cluster are in one slot: one call then carries a whole batch, and
	// one node carries everything. Defaults to "once:".
	Prefix string

	// AllowEviction lets New accept a server whose maxmemory-policy is not
	// noeviction. Such a server drops records whenever its memory is full, done
	// ones and live leases alike, without a word to anyone: each one dropped
	// is a message that may be handled twice, or by two consumers at the same
	// time. Defaults to false: New refuses.
	AllowEviction bool

	// WaitReplicas is how many replicas must have a claim, and a completion,
	// before it is reported as made. Too few within WaitTimeout is answered
	// ErrUnknown: the operation has happened on the primary; repeating it is safe
	// and succeeds when the replicas have caught up. It narrows the window in
	// which a failover loses records, and does not close it, because Redis may
	// promote a replica that was not among those that answered. Not for Ring.
	// Defaults to 0: no waiting.
	WaitReplicas int
	// WaitTimeout is how long to wait for them, from 1 ms up, and less than the
	// client's ReadTimeout. Defaults to 100 ms.
	WaitTimeout time.Duration

	// MaxBatch is how many operations one script call carries at most, from 1 to
	// 1,000. The server does nothing else while a call runs: about 5 µs for each.
	// Defaults to 256.
	MaxBatch int

	// NoCombining sends every call of a single operation by itself. Otherwise calls
	// that come while others are out travel together, up to MaxBatch in a script
	// call; see claim.Combiner. A lone caller notices nothing, and many get several
	// times the throughput. Set it where a trace or a hook of the client must see
	// each caller's context, or where callers are few, the server is far, and an
	// operation must not wait the millisecond that it may now. Defaults to false.
	NoCombining bool

	// Packed chooses the packed layout, in which a finished id takes a quarter of the
	// memory. Programs that share the Prefix must all have it, or none. Defaults to
	// nil: the plain layout.
	Packed *PackedOptions

	// Positions makes the store remember what is done by its place (claim.Place), as one
	// bit and not as a record: less than a byte for each message. On a client that
	// routes by key it needs a hash tag in the Prefix. Programs that share the Prefix
	// must all have it, or none. Defaults to nil: places are not heeded.
	Positions *PositionOptions

	// Logger is told, at the level warn, by New of settings that are legal and
	// cost something, and later, at most once a minute, that the clock of a server
	// was stepped (see Stats). Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	defaultPrefix      = "once:"
	defaultMaxBatch    = 256
	defaultWaitTimeout = 100 * time.Millisecond

	maxPrefixBytes  = 128
	maxMaxBatch     = 1000
	maxWaitReplicas = 100
)

// withDefaults returns a copy with the defaults filled in.
func (o *Options) withDefaults() Options {
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
	if c.WaitTimeout == 0 {
		c.WaitTimeout = defaultWaitTimeout
	}
	c.Packed = c.Packed.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (o *Options) validate() error {
	switch {
	case len(o.Prefix) > maxPrefixBytes:
		return invalid("Prefix has %d bytes, want at most %d", len(o.Prefix), maxPrefixBytes)
	case o.MaxBatch < 1 || o.MaxBatch > maxMaxBatch:
		return invalid("MaxBatch is %d, want 1 to %d", o.MaxBatch, maxMaxBatch)
	case o.WaitReplicas < 0 || o.WaitReplicas > maxWaitReplicas:
		return invalid("WaitReplicas is %d, want 0 to %d", o.WaitReplicas, maxWaitReplicas)
	case o.WaitTimeout < time.Millisecond:
		return invalid("WaitTimeout is %v, want at least 1ms", o.WaitTimeout)
	}
	return o.Packed.validate()
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("redisstore: %w: Options.%s", claim.ErrInvalid, fmt.Sprintf(format, args...))
}
