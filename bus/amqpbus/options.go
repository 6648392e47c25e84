package amqpbus

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/internal/defaults"
)

// mostPrefetch is the largest number that the protocol has room for.
const mostPrefetch = 1<<16 - 1

// Options are the settings of a Consumer. The zero value is useful where the queue
// exists.
type Options struct {
	// Declare is what the queue is made with if there is none, also when it is found
	// missing later. A queue that exists with other settings is an error. Check looks
	// at it. Defaults to nil: New and Consume return ErrNoQueue.
	Declare *Queue
	// Workers is how many handlers run at a time, in ConsumeBatch how many batches.
	// Defaults to 8 times GOMAXPROCS for Consume and to 1 for ConsumeBatch.
	Workers int
	// BatchSize is how many messages ConsumeBatch hands over at most. Defaults to
	// 100.
	BatchSize int
	// MaxHeld is how many messages may be held for a retry, or wait here for a
	// worker, besides those that are handled. The server gives this consumer no more
	// than all of them together (its prefetch count, at most 65535): while as many
	// are held, nothing else is delivered. Defaults to as many as are handled at a
	// time.
	MaxHeld int
	// HoldFor is how long a message stays unsettled for a retry, from its delivery.
	// A retry that is due later is given back to the queue when that time is over,
	// and comes too early. It must be well below the server's consumer_timeout, which
	// is 30 minutes by default. Defaults to 10 minutes.
	HoldFor time.Duration
	// RetryQueue is what the names of the queues begin with in which messages wait
	// that are to be retried in a second or more: "orders.retry" makes
	// orders.retry.1s, .2s, .4s and so on, when they are needed. A message comes back
	// from them not earlier than asked and at most as late again. It needs RabbitMQ
	// 3.10. Defaults to "": such messages are held.
	RetryQueue string
	// AbandonedAfter is when a message that its handler abandoned is handed over
	// again. Defaults to 30 seconds.
	AbandonedAfter time.Duration
	// Backoff is the delay of a retry that names none, by the number of the delivery
	// that failed. Defaults to bus.Exponential(500*time.Millisecond, time.Minute).
	Backoff bus.Backoff
	// ID finds the publisher's message id in a delivery, "" when it has none; see
	// IDFromHeader and IDFromCloudEvent. Defaults to the property message-id.
	ID func(*amqp.Delivery) string
	// Rejected takes messages that the handler rejected, before they are acked;
	// DeadLetter makes one. When it fails the message is retried. Where a
	// deduplicator has a sink of its own use Discard, or dead letters are written
	// twice. Defaults to nil: the server is told to reject the message, which goes to
	// the queue's dead-letter exchange if it has one and is dropped otherwise.
	Rejected bus.DeadLetterSink
	// DrainTimeout is how long running handlers may go on after the consumer was
	// told to stop, before their context ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
	// Logger is told what New found, when the server does not serve the consumer, and
	// of messages that could not be handed over. It is never given an id or a
	// payload. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	fill := defaults.Of("amqpbus: Options")
	fill.Duration("HoldFor", &c.HoldFor, 10*time.Minute)
	fill.Duration("AbandonedAfter", &c.AbandonedAfter, 30*time.Second)
	fill.Duration("DrainTimeout", &c.DrainTimeout, 30*time.Second)
	fill.Int("Workers", &c.Workers, 0)
	fill.Int("BatchSize", &c.BatchSize, 100)
	fill.Int("MaxHeld", &c.MaxHeld, 0)
	if err := fill.Err(); err != nil {
		return c, err
	}
	if n := c.prefetch(c.workers(1)); n > mostPrefetch {
		return c, fmt.Errorf("amqpbus: Options.Workers and MaxHeld make a prefetch count of %d: at most %d is possible", n, mostPrefetch)
	}
	if c.Declare != nil {
		if err := c.Declare.check(); err != nil {
			return c, err
		}
	}
	if c.ID == nil {
		c.ID = func(d *amqp.Delivery) string { return d.MessageId }
	}
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(500*time.Millisecond, time.Minute)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// workers returns how many handlers run at a time, which get messages one by one or
// in batches.
func (o *Options) workers(batch int) int {
	switch {
	case o.Workers > 0:
		return o.Workers
	case batch > 1:
		return 1
	}
	return 8 * runtime.GOMAXPROCS(0)
}

// prefetch returns how many messages may be unsettled while so many are handled.
func (o *Options) prefetch(handled int) int {
	if o.MaxHeld == 0 {
		return 2 * handled
	}
	return handled + o.MaxHeld
}
