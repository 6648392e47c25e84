package amqpbus

import (
	"errors"
	"fmt"
	"maps"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Queue is what a queue is made with. The zero value is a durable quorum queue.
type Queue struct {
	// Args are the queue's arguments, such as amqp.Table{"x-delivery-limit": 50}.
	// Without x-queue-type it is "quorum".
	Args amqp.Table
	// Transient makes a queue that a restart of the server removes. AutoDelete makes
	// one that is removed with its last consumer, and Exclusive one that is removed
	// with the connection. Quorum queues can be none of these.
	Transient, AutoDelete, Exclusive bool
	// Bindings are the exchanges from which it gets messages. They must exist.
	Bindings []Binding
}

// Binding is how a queue gets messages from an exchange.
type Binding struct {
	// Exchange is the name of the exchange.
	Exchange string
	// Key is the routing key or pattern.
	Key string
	// Args are for exchanges of the type headers.
	Args amqp.Table
}

// The types of queues.
const (
	typeArg    = "x-queue-type"
	typeQuorum = "quorum"
	typeStream = "stream"
)

func (q *Queue) check() error {
	if err := q.Args.Validate(); err != nil {
		return fmt.Errorf("amqpbus: Options.Declare.Args: %w", err)
	}
	for _, b := range q.Bindings {
		if b.Exchange == "" {
			return errors.New("amqpbus: Options.Declare.Bindings has one without an exchange: every queue gets what is published to its name anyway")
		}
	}
	if q.kind() == typeQuorum && (q.Transient || q.AutoDelete || q.Exclusive) {
		return errors.New("amqpbus: Options.Declare: a quorum queue cannot be Transient, AutoDelete or Exclusive: set x-queue-type to classic in Args")
	}
	return nil
}

// kind returns the type of the queue.
func (q *Queue) kind() string {
	if kind, ok := q.Args[typeArg].(string); ok {
		return kind
	}
	return typeQuorum
}

// declare makes the queue and its bindings where they are not there.
func (q *Queue) declare(ch *amqp.Channel, name string) error {
	args := maps.Clone(q.Args)
	if args == nil {
		args = amqp.Table{}
	}
	args[typeArg] = q.kind()
	if _, err := ch.QueueDeclare(name, !q.Transient, q.AutoDelete, q.Exclusive, false, args); err != nil {
		return fmt.Errorf("amqpbus: declare queue: %w", err)
	}
	for _, b := range q.Bindings {
		if err := ch.QueueBind(name, b.Key, b.Exchange, false, b.Args); err != nil {
			return fmt.Errorf("amqpbus: bind queue: %w", err)
		}
	}
	return nil
}
