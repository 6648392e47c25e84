package natsbus

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/internal/defaults"
)

// Options are the settings of a Consumer. The zero value is useful.
type Options struct {
	// Workers is how many handlers run at a time, in ConsumeBatch how many
	// batches. Consume never holds more messages than that. A handler that waits
	// for other systems wants more of them than a machine has cores. Defaults to
	// 8 times GOMAXPROCS for Consume and to 1 for ConsumeBatch.
	Workers int
	// BatchSize is how many messages ConsumeBatch hands over at most. Defaults to
	// 100.
	BatchSize int
	// Backoff is the delay of a retry that names none, by the number of the
	// delivery that failed. Defaults to
	// bus.Exponential(500*time.Millisecond, time.Minute).
	Backoff bus.Backoff
	// AckTimeout is how long to wait for the server to confirm an ack before it
	// is sent again. Defaults to 2 seconds.
	AckTimeout time.Duration
	// PlainAck sends acks and rejections once and does not wait for the server's
	// confirmation. An ack that is lost then runs the handler again, or costs a
	// trip to the store that knows better. Defaults to false.
	PlainAck bool
	// Places sets Message.Log and Sequence, so that a store can remember done
	// messages in less than a byte each. It is for streams that never give a
	// sequence number to a second message within the hour: stored in files, with
	// sync_interval always or replicas that do not lose power together, and not
	// deleted and made again, or restored from an older backup, under a running
	// consumer. A message that gets the number of a done one may be taken for it.
	// All consumers of a stream need the same setting. New fails when it cannot
	// read the stream's settings, or finds it in memory. Defaults to false.
	Places bool
	// DrainTimeout is how long running handlers may go on after the consumer was
	// told to stop, before their context ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
	// Logger is told what New found, what could not be settled, and when the
	// server was out of reach. It is never given an id or a payload. Defaults to
	// slog.Default().
	Logger *slog.Logger
	// OnError is called for each delivery that could not be settled, with a
	// *SettleError. It may be called by many goroutines at once. Nil is allowed.
	OnError func(error)
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	fill := defaults.Of("natsbus: Options")
	fill.Int("Workers", &c.Workers, 0)
	fill.Int("BatchSize", &c.BatchSize, 100)
	fill.Duration("AckTimeout", &c.AckTimeout, 2*time.Second)
	fill.Duration("DrainTimeout", &c.DrainTimeout, 30*time.Second)
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(500*time.Millisecond, time.Minute)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, fill.Err()
}

// workers returns Workers or its default for Consume.
func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return 8 * runtime.GOMAXPROCS(0)
}
