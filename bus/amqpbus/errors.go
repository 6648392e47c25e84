package amqpbus

import (
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrNoQueue is returned by New and Consume when the queue does not exist and
// Options.Declare does not ask for it to be made.
var ErrNoQueue = errors.New("amqpbus: the queue does not exist: declare it, or set Options.Declare")

// ErrRefused is returned by New and Consume for a server or a queue that this package
// cannot work with. The error names the settings.
var ErrRefused = errors.New("amqpbus: the settings of the server or the queue lose messages")

// ErrUnsettled is returned by Consume when it could not close its channel in order.
// What was acked last, or was still being handled, may come again.
var ErrUnsettled = errors.New("amqpbus: the server did not confirm the end of the channel")

// ErrUnroutable is returned by Publish, and so by a dead-letter sink, when no queue
// takes the message: it was not stored.
var ErrUnroutable = errors.New("amqpbus: no queue takes the message: check the exchange, the routing key and the bindings")

// ErrNotConfirmed is returned by Publish when the server did not confirm in time that
// it stored the message, or refused to. It may be stored all the same.
var ErrNotConfirmed = errors.New("amqpbus: the server did not confirm the message")

// ErrBlocked is returned by Publish when the server takes no messages, because its
// memory or its disk is full.
var ErrBlocked = errors.New("amqpbus: the server takes no messages: its memory or disk is full")

// ErrClosed is returned when the Client is closed.
var ErrClosed = errors.New("amqpbus: the client is closed")

var (
	errNoHandler = errors.New("amqpbus: handler is nil")
	errLost      = errors.New("amqpbus: the channel was lost")
	errCancelled = errors.New("amqpbus: the server cancelled the consumer")
	errStream    = fmt.Errorf("%w: the queue is a stream, which hands out again what was acked: bind a queue to its exchange", ErrRefused)
	errTimeout   = errors.New("amqpbus: the server did not answer in time, and was disconnected")
)

// queueGone reports whether err says that there is no such queue. A queue whose node
// is down is there.
func queueGone(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.NotFound && strings.Contains(e.Reason, "no queue")
}
