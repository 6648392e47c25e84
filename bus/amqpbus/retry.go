package amqpbus

import (
	"context"
	"errors"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// shortestAway is the shortest delay for which a message goes to a retry queue.
const shortestAway = time.Second

// longestStep bounds the retry queues to 17; longer delays share the last one.
const longestStep = 1 << 16 * time.Second

// step returns the step of a delay: the largest power of two in seconds that is not
// longer. Messages of one step share a queue, and a queue gives back in the order in
// which it took: no message waits there for one with more than twice its delay.
func step(delay time.Duration) time.Duration {
	s := shortestAway
	for s < longestStep && 2*s <= delay {
		s *= 2
	}
	return s
}

// retryQueue returns the name of the queue of a delay.
func (c *Consumer) retryQueue(delay time.Duration) string {
	return c.opts.RetryQueue + "." + strconv.Itoa(int(step(delay)/time.Second)) + "s"
}

// putOff stores a copy of a delivery in a retry queue and returns when the server has
// it. The queue is made when it is found missing.
func (c *Consumer) putOff(ctx context.Context, d *delivery, delay time.Duration) error {
	queue := c.retryQueue(delay)
	m := copyOf(d.raw)
	m.Headers[HeaderDeliveries] = int64(d.msg.Delivery)
	// The server counts in whole milliseconds.
	m.Expiration = strconv.FormatInt(int64((delay+time.Millisecond-1)/time.Millisecond), 10)
	err := c.client.Publish(ctx, "", queue, m)
	if !errors.Is(err, ErrUnroutable) {
		return err
	}
	if err := c.client.publishing.once(ctx, func(ch *amqp.Channel) error { return declareRetry(ch, queue, c.queue) }); err != nil {
		return err
	}
	return c.client.Publish(ctx, "", queue, m)
}

// declareRetry makes a queue whose messages go to the queue back when they expire.
// They leave it when that one has them, and not before.
func declareRetry(ch *amqp.Channel, name, back string) error {
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{
		typeArg:                     typeQuorum,
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": back,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish", // what that strategy needs
	})
	return err
}
