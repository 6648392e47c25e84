package redisbus

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/internal/defaults"
)

// Options are the settings of a Consumer. The zero value is useful where the
// group exists.
type Options struct {
	// Name is the consumer's name in the group. No other consumer may have it at
	// the same time. Defaults to the host's name and random letters.
	Name string
	// CreateFrom is the id of the entry after which a group begins that does not
	// exist: "0" for all that the stream has, "$" for what is added from now on.
	// The stream is made with it. A group that is lost while it is consumed is made
	// again too; see the package documentation. Defaults to "": New and Consume
	// return ErrNoGroup.
	CreateFrom string
	// Workers is how many handlers run at a time, in ConsumeBatch how many
	// batches. No more entries are read than there are free workers for. Defaults
	// to 8 times GOMAXPROCS for Consume and to 1 for ConsumeBatch.
	Workers int
	// BatchSize is how many messages ConsumeBatch hands over at most. Defaults to
	// 100.
	BatchSize int
	// MinIdle is how long an entry must not have been heard of before any consumer
	// of the group may take it over; it is the bus's ack wait. All consumers of a
	// group need the same. In milliseconds. Defaults to 30 seconds.
	MinIdle time.Duration
	// ClaimInterval is the time between two looks for entries to take over.
	// Defaults to a quarter of MinIdle.
	ClaimInterval time.Duration
	// Backoff is the delay of a retry that names none, by the number of the
	// delivery that failed. Defaults to
	// bus.Exponential(500*time.Millisecond, time.Minute).
	Backoff bus.Backoff
	// MaxWaiting is how many messages may wait here for a retry. While there are as
	// many, no others are taken. Each is its id, not its payload. Defaults to
	// 10,000.
	MaxWaiting int
	// Rejected takes messages that the handler rejected, before they are acked;
	// DeadLetter makes one. When it fails the message is retried. Leave it nil
	// where a deduplicator has a sink of its own, or dead letters are written
	// twice. Defaults to nil: a rejected message is acked, and the Logger is told.
	Rejected bus.DeadLetterSink
	// IDField is the field with the publisher's message id. Defaults to "id".
	IDField string
	// DataField is the field with the payload. Defaults to "data".
	DataField string
	// TrimEvery is how often entries are removed from the stream that all of its
	// groups have settled. A group that nobody consumes keeps everything; one that
	// is made later does not find what was removed. Defaults to 0: never.
	TrimEvery time.Duration
	// ForgetAfter is how long a consumer of the group that has nothing pending must
	// not have read before its name is removed. Names of processes that were killed
	// would gather otherwise. Defaults to 1 hour.
	ForgetAfter time.Duration
	// AllowEviction lets New accept a server that evicts streams when its memory is
	// full: messages are then lost. Defaults to false.
	AllowEviction bool
	// AckTimeout is how long an answer of the server is waited for, and at the end
	// of Consume how long acks are sent again that were not confirmed. Defaults to
	// 2 seconds.
	AckTimeout time.Duration
	// DrainTimeout is how long running handlers may go on after the consumer was
	// told to stop, before their context ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
	// Logger is told what New found, when the server does not serve the consumer,
	// and of messages that were rejected or deleted from the stream. It is never
	// given an id or a payload. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	fill := defaults.Of("redisbus: Options")
	fill.Duration("MinIdle", &c.MinIdle, 30*time.Second)
	fill.Duration("ClaimInterval", &c.ClaimInterval, c.MinIdle/4)
	fill.Duration("TrimEvery", &c.TrimEvery, 0)
	fill.Duration("ForgetAfter", &c.ForgetAfter, time.Hour)
	fill.Duration("AckTimeout", &c.AckTimeout, 2*time.Second)
	fill.Duration("DrainTimeout", &c.DrainTimeout, 30*time.Second)
	fill.Int("Workers", &c.Workers, 0)
	fill.Int("BatchSize", &c.BatchSize, 100)
	fill.Int("MaxWaiting", &c.MaxWaiting, 10_000)
	if err := fill.Err(); err != nil {
		return c, err
	}
	if c.MinIdle%time.Millisecond != 0 {
		return c, fmt.Errorf("redisbus: Options.MinIdle is %v, want whole milliseconds", c.MinIdle)
	}
	if c.CreateFrom != "" && c.CreateFrom != "$" && !isEntryID(c.CreateFrom) {
		return c, fmt.Errorf("redisbus: Options.CreateFrom is %q, want \"0\", \"$\" or the id of an entry", c.CreateFrom)
	}
	if c.IDField == "" {
		c.IDField = defaultIDField
	}
	if c.DataField == "" {
		c.DataField = defaultDataField
	}
	if c.IDField == c.DataField {
		return c, fmt.Errorf("redisbus: Options.IDField and DataField are both %q", c.IDField)
	}
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(500*time.Millisecond, time.Minute)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// workers returns Workers or its default for Consume.
func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return 8 * runtime.GOMAXPROCS(0)
}
