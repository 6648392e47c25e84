package watermillbus

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/internal/defaults"
)

// Options are the settings of Middleware and Consume. The zero value is useful.
type Options struct {
	// Publisher publishes what a handler behind Middleware produces, to the topic
	// that the router has for the handler; the router's publisher decorators do not
	// apply. Publish must return only when the broker has the messages. Consume
	// ignores it. Defaults to nil: the handler must produce nothing, see
	// ErrNoPublisher.
	Publisher message.Publisher
	// Rejected takes messages that were rejected, before they are acked; DeadLetter
	// makes one. When it fails the message is nacked. Where a deduplicator has a
	// sink of its own use Discard, or dead letters are written twice. Defaults to
	// nil. Consume then acks a rejected message and tells the Logger. Middleware
	// hands the error on, for a PoisonQueue around it; without one the message is
	// nacked and comes for ever.
	Rejected bus.DeadLetterSink
	// MaxHold is the longest time for which a nack is held back, so that a message
	// does not come before its delay is over; a longer delay is cut short, and the
	// message then comes too early and is put off again. A broker that waits for
	// less than the handler and MaxHold take delivers the message meanwhile.
	// Defaults to 10 seconds.
	MaxHold time.Duration
	// Pause is how long a nack is held back that has no delay of its own. Defaults
	// to 100 milliseconds, or MaxHold if that is less.
	Pause time.Duration
	// Workers is how many handlers of Consume run at a time; messages whose nack is
	// held back are not counted. Middleware ignores it: the router has no limit.
	// Defaults to 8 times GOMAXPROCS.
	Workers int
	// DrainTimeout is how long running handlers may go on after Consume was told to
	// stop, before their context ends. Middleware ignores it: the router has one.
	// Defaults to 30 seconds.
	DrainTimeout time.Duration
	// Logger is told of messages that were rejected without a sink. It is never
	// given an id or a payload. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	fill := defaults.Of("watermillbus: Options")
	fill.Duration("MaxHold", &c.MaxHold, 10*time.Second)
	fill.Duration("Pause", &c.Pause, min(100*time.Millisecond, c.MaxHold))
	fill.Duration("DrainTimeout", &c.DrainTimeout, 30*time.Second)
	fill.Int("Workers", &c.Workers, 8*runtime.GOMAXPROCS(0))
	if err := fill.Err(); err != nil {
		return c, err
	}
	if c.Pause > c.MaxHold {
		return c, fmt.Errorf("watermillbus: Options.Pause is %v, more than MaxHold, %v", c.Pause, c.MaxHold)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
