package amqpbus

import (
	"context"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxPublishing is how many messages of one Client may wait for their confirmation.
const maxPublishing = 64

// Publish publishes one message and returns nil when the server has confirmed that it
// is stored in a queue, on the disk if the queue is durable. It is persistent unless
// its DeliveryMode is amqp.Transient. Set MessageId: after an error that is not
// ErrUnroutable the message may be stored all the same, and comes twice when it is
// published again.
//
// Errors wrap ErrUnroutable, ErrNotConfirmed, ErrBlocked, ErrClosed, or what the
// connection or ctx failed with. Publish waits for ClientOptions.Timeout at most.
func (c *Client) Publish(ctx context.Context, exchange, key string, m amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if m.DeliveryMode == 0 {
		m.DeliveryMode = amqp.Persistent
	}
	if err := c.publish(ctx, exchange, key, m); err != nil {
		return fmt.Errorf("amqpbus: publish: %w", err)
	}
	return nil
}

// confirmer is a channel with confirms, and with one message at a time: what is
// returned on it is that message.
type confirmer struct {
	conn    *connection
	ch      *amqp.Channel
	returns <-chan amqp.Return
	closed  <-chan *amqp.Error
}

// confirmers are those that are free.
type confirmers struct {
	room chan struct{} // a place for each message that waits

	mu   sync.Mutex
	free []*confirmer
}

func (c *Client) publish(ctx context.Context, exchange, key string, m amqp.Publishing) error {
	select {
	case c.confirmers.room <- struct{}{}:
		defer func() { <-c.confirmers.room }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	conn, err := c.publishing.get(ctx)
	if err != nil {
		return err
	}
	// A server that takes no messages reads nothing else either.
	if unblocked := conn.whenUnblocked(); unblocked != nil {
		select {
		case <-unblocked:
		case <-ctx.Done():
			return ErrBlocked
		}
	}
	p, err := c.confirmer(conn)
	if err != nil {
		return err
	}
	confirmation, err := p.ch.PublishWithDeferredConfirm(exchange, key, true, false, m)
	if err != nil {
		c.drop(p)
		return err
	}
	select {
	case <-confirmation.Done():
	case <-ctx.Done():
		blocked := p.conn.whenUnblocked() != nil
		c.drop(p) // its confirmation may still come
		if blocked {
			return ErrBlocked
		}
		return fmt.Errorf("%w: %w", ErrNotConfirmed, context.Cause(ctx))
	}
	if confirmation.Acked() {
		select {
		case r := <-p.returns:
			err = fmt.Errorf("%w (%s)", ErrUnroutable, r.ReplyText)
		default:
		}
		c.confirmers.put(p)
		return err
	}
	if !p.ch.IsClosed() {
		c.confirmers.put(p)
		return fmt.Errorf("%w: it refused to store it, as a full queue does", ErrNotConfirmed)
	}
	if reason := <-p.closed; reason != nil {
		if reason.Code == amqp.NotFound {
			return fmt.Errorf("%w: %w", ErrUnroutable, reason)
		}
		return fmt.Errorf("%w: %w", ErrNotConfirmed, reason)
	}
	return fmt.Errorf("%w: %w", ErrNotConfirmed, errLost)
}

// confirmer returns a free channel, or opens one.
func (c *Client) confirmer(conn *connection) (*confirmer, error) {
	for {
		p := c.confirmers.take()
		if p == nil {
			break
		}
		if !p.ch.IsClosed() {
			return p, nil
		}
	}
	ch, err := conn.channel()
	if err != nil {
		return nil, err
	}
	p := &confirmer{conn: conn, ch: ch}
	p.returns, p.closed = ch.NotifyReturn(make(chan amqp.Return, 1)), ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := conn.ask(func() error { return ch.Confirm(false) }); err != nil {
		c.drop(p)
		return nil, err
	}
	return p, nil
}

// drop closes a channel that is not to be used again, without waiting for that.
func (c *Client) drop(p *confirmer) {
	c.help(func() { // when the client is closed, its channels are
		if unblocked := p.conn.whenUnblocked(); unblocked != nil {
			select {
			case <-unblocked:
			case <-c.ctx.Done():
			}
		}
		_ = p.conn.ask(p.ch.Close)
	})
}

func (f *confirmers) put(p *confirmer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, p)
}

func (f *confirmers) take() *confirmer {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.free) - 1
	if last < 0 {
		return nil
	}
	p := f.free[last]
	f.free[last] = nil
	f.free = f.free[:last]
	return p
}
