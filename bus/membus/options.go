package membus

import (
	"fmt"
	"runtime"
	"time"

	"github.com/oncebus/once/bus"
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
	if c.AckWait == 0 {
		c.AckWait = 30 * time.Second
	}
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(100*time.Millisecond, 30*time.Second)
	}
	if c.Limit == 0 {
		c.Limit = 65536
	}
	switch {
	case c.AckWait < 0:
		return c, fmt.Errorf("membus: Options.AckWait is negative: %v", c.AckWait)
	case c.MaxDeliver < 0:
		return c, fmt.Errorf("membus: Options.MaxDeliver is negative: %d", c.MaxDeliver)
	case c.Limit < 0:
		return c, fmt.Errorf("membus: Options.Limit is negative: %d", c.Limit)
	}
	return c, nil
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
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.BatchSize == 0 {
		c.BatchSize = 100
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	switch {
	case c.Workers < 0:
		return c, fmt.Errorf("membus: ConsumeOptions.Workers is negative: %d", c.Workers)
	case c.BatchSize < 0:
		return c, fmt.Errorf("membus: ConsumeOptions.BatchSize is negative: %d", c.BatchSize)
	case c.DrainTimeout < 0:
		return c, fmt.Errorf("membus: ConsumeOptions.DrainTimeout is negative: %v", c.DrainTimeout)
	}
	return c, nil
}
