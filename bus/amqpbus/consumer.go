package amqpbus

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/oncebus/once/bus"
)

// Consumer hands the messages of a queue to handlers. It is safe for concurrent use.
// It needs no closing.
type Consumer struct {
	opts     Options
	client   *Client
	queue    string
	findings []bus.Finding
	counts   counts
}

// counts are Stats as they are counted.
type counts struct {
	delivered, acked, retried, rejected, abandoned, returned, putOff,
	givenBack, dropped, unsettled, reopened atomic.Int64
}

// Stats are counts since the Consumer was made.
type Stats struct {
	// Delivered is how many times messages were handed to a handler.
	Delivered int64
	// Acked, Retried, Rejected and Abandoned say how that ended. Acks and rejections
	// count when they were written; see Unsettled.
	Acked, Retried, Rejected, Abandoned int64
	// Returned arrived while the consumer stopped and were given back.
	Returned int64
	// PutOff is how many of those that are retried went to a retry queue.
	PutOff int64
	// GivenBack were held for Options.HoldFor, or until the consumer stopped, and
	// given back to the queue before their delay was over.
	GivenBack int64
	// Dropped waited here, for a worker or a retry, when their channel was lost. They
	// come again.
	Dropped int64
	// Unsettled were handled, and their channel was lost before that could be told.
	// They come again.
	Unsettled int64
	// Reopened is how many times a channel was opened in the place of one that was
	// lost.
	Reopened int64
}

// New returns a consumer of the queue, after a look at the server; see Check. It logs
// what it finds, and returns an error that wraps ErrRefused if messages would be lost
// by design, or ErrNoQueue. Options are checked first; the error names the one that is
// wrong. A nil o stands for the defaults. The client stays the caller's.
func New(ctx context.Context, client *Client, queue string, o *Options) (*Consumer, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case client == nil:
		return nil, errors.New("amqpbus: client is nil")
	case queue == "":
		return nil, errors.New("amqpbus: the name of the queue is empty")
	}
	c := &Consumer{opts: opts, client: client, queue: queue}
	if c.findings, err = check(ctx, client, queue, &opts); err != nil {
		return nil, err
	}
	if err := bus.Report(ctx, opts.Logger, c.findings, ErrRefused, "queue", queue); err != nil {
		return nil, err
	}
	return c, nil
}

// Findings returns what New found, worst first.
func (c *Consumer) Findings() []bus.Finding { return append([]bus.Finding(nil), c.findings...) }

// Redelivery returns what decides when a message comes again, as a deduplicator checks
// it. There is no ack wait: a message comes again when its channel is lost. MaxDeliver
// is known where Options.Declare sets x-delivery-limit.
func (c *Consumer) Redelivery() bus.Redelivery {
	var r bus.Redelivery
	if q := c.opts.Declare; q != nil {
		if limit, ok := integer(q.Args["x-delivery-limit"]); ok && limit >= 0 {
			r.MaxDeliver = limit + 1
		}
	}
	return r
}

// Stats returns the counts so far.
func (c *Consumer) Stats() Stats {
	n := &c.counts
	return Stats{
		Delivered: n.delivered.Load(), Acked: n.acked.Load(), Retried: n.retried.Load(), Rejected: n.rejected.Load(),
		Abandoned: n.abandoned.Load(), Returned: n.returned.Load(), PutOff: n.putOff.Load(), GivenBack: n.givenBack.Load(),
		Dropped: n.dropped.Load(), Unsettled: n.unsettled.Load(), Reopened: n.reopened.Load(),
	}
}
