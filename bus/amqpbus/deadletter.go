package amqpbus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

// DeadLetterOptions are the settings of DeadLetter. The zero value is useful.
type DeadLetterOptions struct {
	// Timeout is how long one attempt to store a dead letter may take, if that is
	// less than ClientOptions.Timeout. Defaults to 5 seconds.
	Timeout time.Duration
}

// longestReason is how much of a reason a dead letter has, in bytes.
const longestReason = 2048

// DeadLetter returns a sink that publishes dead letters to an exchange with a routing
// key and returns nil only after the server has confirmed that a queue has them. It is
// for dedupe.Options.DeadLetter or Options.Rejected, not for both. The exchange "" is
// the default one, whose routing keys are the names of queues. DeadLetter asks the
// server whether the exchange, or that queue, exists.
//
// A dead letter has the payload, the properties and the headers of the original, and
// the headers above. It is persistent and does not expire. RabbitMQ does not drop a
// second copy: HeaderDeadLetterID tells it. It must not get back to the queue that is
// consumed.
func DeadLetter(ctx context.Context, client *Client, exchange, key string, o *DeadLetterOptions) (bus.DeadLetterSink, error) {
	timeout := 5 * time.Second
	if o != nil && o.Timeout != 0 {
		timeout = o.Timeout
	}
	switch {
	case timeout < 0:
		return nil, fmt.Errorf("amqpbus: DeadLetterOptions.Timeout is negative: %v", timeout)
	case client == nil:
		return nil, errors.New("amqpbus: client is nil")
	case exchange == "" && key == "":
		return nil, errors.New("amqpbus: dead letters have no exchange and no queue")
	}
	err := client.publishing.once(ctx, func(ch *amqp.Channel) error {
		if exchange != "" {
			return ch.ExchangeDeclarePassive(exchange, "", false, false, false, false, nil)
		}
		_, err := ch.QueueDeclarePassive(key, false, false, false, false, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("amqpbus: looking for where dead letters go: %w", err)
	}
	return func(ctx context.Context, d bus.DeadLetter) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := client.Publish(ctx, exchange, key, deadLetter(d)); err != nil {
			return fmt.Errorf("amqpbus: dead letter: %w", err)
		}
		return nil
	}, nil
}

// Discard is the sink that keeps nothing, for Options.Rejected where a deduplicator
// has stored the dead letter already.
func Discard(context.Context, bus.DeadLetter) error { return nil }

// deadLetter returns the message of a dead letter.
func deadLetter(d bus.DeadLetter) amqp.Publishing {
	var m amqp.Publishing
	if original, ok := d.Message.Raw.(*amqp.Delivery); ok {
		m = copyOf(original)
	} else {
		m = amqp.Publishing{Headers: amqp.Table{}, MessageId: d.Message.ID, Timestamp: d.Message.Published, Body: d.Message.Data}
		for name, values := range d.Message.Header {
			all := make([]any, len(values))
			for i, v := range values {
				all[i] = v
			}
			m.Headers[name] = all
		}
	}
	set := func(name, value string) {
		if value != "" {
			m.Headers[name] = value
		}
	}
	set(HeaderDeadLetterID, d.ID)
	set(HeaderReason, clip(d.Reason, longestReason))
	set(HeaderConsumer, d.Consumer)
	if d.Attempt > 0 {
		m.Headers[HeaderAttempt] = int64(d.Attempt)
	}
	return m
}

// deadLetterID names the dead letter of a message that the consumer of a queue gave
// up, by the publisher's id or else by the payload.
func deadLetterID(queue string, m *bus.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(queue), queue)
	if m.ID != "" {
		fmt.Fprintf(h, "id:%s", m.ID)
	} else {
		fmt.Fprintf(h, "payload:%s", m.Data)
	}
	return "dead." + hex.EncodeToString(h.Sum(nil)[:16])
}
