package membus

import (
	"runtime"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/internal/defaults"
)

// Options are the settings of a Bus. The zero value is useful.
type Options struct {
	// AckWait is how long a delivery may stay unsettled before the message is
	// delivered again. Defaults to 30 seconds.
	AckWait time.Duration
	// MaxDeliver is after how many deliveries a message that is still not
	// settled is dropped; Stats counts it. Defaults to 0, no limit.
	MaxDeliver int
	// Backoff is the delay of a retry that names none. Defaults to
	// bus.Exponential(100*time.Millisecond, 30*time.Second).
	Backoff bus.Backoff
	// Limit is how many unsettled messages the Bus holds; Publish waits while
	// there are that many. A handler that publishes to its own full bus waits
	// until its context ends. Defaults to 65,536.
	Limit int
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	fill := defaults.Of("membus: Options")
	fill.Duration("AckWait", &c.AckWait, 30*time.Second)
	fill.Int("MaxDeliver", &c.MaxDeliver, 0)
	fill.Int("Limit", &c.Limit, 65536)
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(100*time.Millisecond, 30*time.Second)
	}
	return c, fill.Err()
}

// ConsumeOptions are the settings of one consumer of a Bus. The zero value is
// useful.
type ConsumeOptions struct {
	// Workers is how many handlers run at a time. Defaults to GOMAXPROCS.
	Workers int
	// BatchSize is how many messages ConsumeBatch hands over at most; Consume
	// ignores it. Defaults to 100.
	BatchSize int
	// DrainTimeout is how long running handlers may go on after the consumer was
	// told to stop, before their context ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
}

func (o *ConsumeOptions) withDefaults() (ConsumeOptions, error) {
	var c ConsumeOptions
	if o != nil {
		c = *o
	}
	fill := defaults.Of("membus: ConsumeOptions")
	fill.Int("Workers", &c.Workers, runtime.GOMAXPROCS(0))
	fill.Int("BatchSize", &c.BatchSize, 100)
	fill.Duration("DrainTimeout", &c.DrainTimeout, 30*time.Second)
	return c, fill.Err()
}
