package amqpbus

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// consumerTag names the one consumer of a channel.
const consumerTag = "once"

// intake is a channel on which messages come. What came on it is settled on it.
type intake struct {
	conn       *connection
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	closed     <-chan *amqp.Error
	cancelled  <-chan string
}

// open opens a channel and begins to consume.
func (s *session) open(ctx context.Context) (*intake, error) {
	c := s.c
	conn, err := c.client.consuming.get(ctx)
	if err != nil {
		return nil, err
	}
	in := &intake{conn: conn}
	if in.ch, err = conn.channel(); err != nil {
		return nil, fmt.Errorf("amqpbus: open channel: %w", err)
	}
	in.closed, in.cancelled = in.ch.NotifyClose(make(chan *amqp.Error, 1)), in.ch.NotifyCancel(make(chan string, 1))
	err = conn.ask(func() (err error) {
		if c.opts.Declare != nil {
			if err := c.opts.Declare.declare(in.ch, c.queue); err != nil {
				return err
			}
		}
		if err := in.ch.Qos(s.prefetch, 0, false); err != nil {
			return err
		}
		in.deliveries, err = in.ch.Consume(c.queue, consumerTag, false, false, false, false, nil)
		return err
	})
	if err != nil {
		_ = conn.ask(in.ch.Close)
		return nil, fmt.Errorf("amqpbus: consume: %w", err)
	}
	return in, nil
}

// lost reports whether nothing can be settled on the channel any more.
func (in *intake) lost() bool { return in.ch.IsClosed() }

// why says how the channel was lost. A channel whose consumer alone was cancelled is
// closed, so that the server has all its messages back.
func (in *intake) why() error {
	select {
	case <-in.cancelled:
		_ = in.conn.ask(in.ch.Close)
		return errCancelled
	default:
	}
	_ = in.conn.ask(in.ch.Close)
	if reason := <-in.closed; reason != nil {
		return fmt.Errorf("%w: %w", errLost, reason)
	}
	return errLost
}

// cancel ends the consumer: when all of in.deliveries was read there is nothing more.
func (in *intake) cancel() {
	// When it fails the channel is lost, and with it what is to come.
	_ = in.conn.ask(func() error { return in.ch.Cancel(consumerTag, false) })
}

// end closes the channel. When the server confirms that, it has what was said on it.
func (in *intake) end() error {
	if in.lost() {
		return fmt.Errorf("%w: %w", ErrUnsettled, errLost)
	}
	if err := in.conn.ask(in.ch.Close); err != nil && !errors.Is(err, amqp.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	return nil
}
