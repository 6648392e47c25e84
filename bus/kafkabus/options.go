package kafkabus

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// Order says which records of a partition may be handled at the same time.
type Order uint8

// The orders.
const (
	// ByPartition handles the records of a partition one after the other.
	ByPartition Order = iota
	// ByKey handles records with one key one after the other. Keys share lanes,
	// Options.Concurrency of them in a partition; one that is held holds its lane.
	ByKey
	// Unordered handles up to Options.Concurrency records of a partition at a
	// time. One that is held holds no other.
	Unordered
)

// String returns the name of the constant.
func (o Order) String() string {
	switch o {
	case ByPartition:
		return "ByPartition"
	case ByKey:
		return "ByKey"
	case Unordered:
		return "Unordered"
	}
	return fmt.Sprintf("Order(%d)", uint8(o))
}

// Options are the settings of a Consumer. The zero value is useful.
type Options struct {
	// Order says which records of a partition may be handled at the same time.
	// Defaults to ByPartition.
	Order Order
	// Concurrency is how many records, in ConsumeBatch batches, of one partition
	// are handled at a time. It is for ByKey and Unordered. Defaults to 8.
	Concurrency int
	// BatchSize is how many messages ConsumeBatch hands over at most. Defaults to
	// 100.
	BatchSize int
	// MaxOutstanding is how many records of a partition are kept here that are not
	// behind the low-water mark, waiting ones and, behind one that is held,
	// settled ones. The partition is not fetched while there are more. At least
	// BatchSize in ConsumeBatch. Defaults to 1000.
	MaxOutstanding int
	// ID finds the publisher's message id in a record, "" when it has none.
	// Defaults to IDFromHeader("ce_id"), the id of a CloudEvent.
	ID func(*kgo.Record) string
	// Backoff is the delay of a retry that names none, by how often the record was
	// handed over. Defaults to bus.Exponential(500*time.Millisecond, time.Minute).
	Backoff bus.Backoff
	// AbandonedAfter is when a record that its handler abandoned is handed over
	// again. Defaults to 30 seconds.
	AbandonedAfter time.Duration
	// HoldFor is how long a record is retried while its partition, or lane, waits.
	// After that it is published to RetryTopic; without one it goes on being held,
	// and the Logger is told, at each HoldFor. Defaults to 5 minutes.
	HoldFor time.Duration
	// RetryTopic is where records go that are held too long, with what they were
	// and where they came from in their headers. They are not in order with others
	// any more. A copy has another position: identify such messages by an id that
	// they carry. Defaults to "": none.
	RetryTopic string
	// CommitInterval is the time between two commits of what is settled. Defaults
	// to 1 second.
	CommitInterval time.Duration
	// RevokeTimeout is how long handlers may go on when their partition is taken
	// away, before their context ends. Less than the group's rebalance timeout.
	// Defaults to half of that.
	RevokeTimeout time.Duration
	// DrainTimeout is how long running handlers may go on after the consumer was
	// told to stop, before their context ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
	// Logger is told of fetches and commits that fail, and of records that are
	// held for long. It is never given an id, a key or a payload. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"AbandonedAfter", &c.AbandonedAfter, 30 * time.Second},
		{"HoldFor", &c.HoldFor, 5 * time.Minute},
		{"CommitInterval", &c.CommitInterval, time.Second},
		{"DrainTimeout", &c.DrainTimeout, 30 * time.Second},
		{"RevokeTimeout", &c.RevokeTimeout, 0}, // by the client's rebalance timeout
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("kafkabus: Options.%s is negative: %v", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	for _, n := range []struct {
		name     string
		value    *int
		standard int
	}{{"Concurrency", &c.Concurrency, 8}, {"BatchSize", &c.BatchSize, 100}, {"MaxOutstanding", &c.MaxOutstanding, 1000}} {
		if *n.value < 0 {
			return c, fmt.Errorf("kafkabus: Options.%s is negative: %d", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.standard
		}
	}
	if c.Order > Unordered {
		return c, fmt.Errorf("kafkabus: Options.Order is unknown: %v", c.Order)
	}
	if c.Order == ByPartition {
		c.Concurrency = 1
	}
	if c.ID == nil {
		c.ID = IDFromHeader("ce_id")
	}
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(500*time.Millisecond, time.Minute)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
