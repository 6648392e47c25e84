package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// Consumer hands the messages of a JetStream consumer to handlers. It is safe
// for concurrent use. It needs no closing.
type Consumer struct {
	opts     Options
	nc       *nats.Conn
	api      string // prefix of the JetStream API's subjects
	cons     jetstream.Consumer
	stream   string
	name     string
	config   jetstream.ConsumerConfig
	findings []bus.Finding
	longest  time.Duration
	log      *logName  // nil: messages are told no place
	created  time.Time // when the server made the consumer
	counts   counts
}

// counts are Stats as they are counted.
type counts struct {
	delivered, acked, retried, rejected, abandoned, returned, expired, unsettled atomic.Int64
}

// Stats are counts of deliveries since the Consumer was made.
type Stats struct {
	// Delivered were handed to a handler.
	Delivered int64
	// Acked, Retried and Rejected were settled so; Abandoned were not settled
	// because the handler said so.
	Acked, Retried, Rejected, Abandoned int64
	// Returned arrived while the consumer stopped and were given back at once.
	Returned int64
	// Expired waited here until their ack wait had passed and were left alone:
	// the server has delivered them again. Messages wait here only when a request
	// that was taken for lost, at a reconnect or a silent server, brought more
	// than there are workers.
	Expired int64
	// Unsettled could not be settled; see SettleError.
	Unsettled int64
}

// New reads the settings of cons and its stream from the server and checks them;
// see Check. It logs what it finds, and returns an error that wraps ErrRefused if
// the consumer cannot work. Options are checked first; the error names the one
// that is wrong. js must be the JetStream that cons is from. A nil o stands for
// the defaults.
//
// The settings are read once. Make a new Consumer after changing AckWait or
// BackOff of a consumer.
func New(ctx context.Context, js jetstream.JetStream, cons jetstream.Consumer, o *Options) (*Consumer, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := readSettings(ctx, js, cons)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		opts:     opts,
		nc:       js.Conn(),
		api:      apiPrefix(js.Options()),
		cons:     cons,
		stream:   s.consumer.Stream,
		name:     s.consumer.Name,
		config:   s.consumer.Config,
		created:  s.consumer.Created,
		findings: s.findings(opts.workers()),
	}
	if s.stream != nil {
		c.longest = s.stream.Config.MaxAge
	}
	if opts.Places {
		if c.log, err = s.logName(); err != nil {
			return nil, err
		}
	}
	if err := bus.Report(ctx, c.opts.Logger, c.findings, ErrRefused, "stream", c.stream, "consumer", c.name); err != nil {
		return nil, err
	}
	return c, nil
}

// Findings returns what New found, worst first.
func (c *Consumer) Findings() []bus.Finding { return append([]bus.Finding(nil), c.findings...) }

// Redelivery returns the consumer's settings as a deduplicator checks them. Its
// AckWait is the shortest one of a BackOff; its Longest is the stream's MaxAge,
// the only thing that bounds when a message comes for the last time, since a
// retry may be delayed at will.
func (c *Consumer) Redelivery() bus.Redelivery {
	r := bus.Redelivery{AckWait: c.config.AckWait, MaxDeliver: max(0, c.config.MaxDeliver), Longest: c.longest}
	for _, d := range c.config.BackOff {
		r.AckWait = min(r.AckWait, d)
	}
	return r
}

// Stats returns the counts so far.
func (c *Consumer) Stats() Stats {
	return Stats{
		Delivered: c.counts.delivered.Load(),
		Acked:     c.counts.acked.Load(),
		Retried:   c.counts.retried.Load(),
		Rejected:  c.counts.rejected.Load(),
		Abandoned: c.counts.abandoned.Load(),
		Returned:  c.counts.returned.Load(),
		Expired:   c.counts.expired.Load(),
		Unsettled: c.counts.unsettled.Load(),
	}
}

// ackWait returns how long the server waits for the given delivery, the first
// being 1.
func (c *Consumer) ackWait(delivery int) time.Duration {
	if n := len(c.config.BackOff); n > 0 {
		return c.config.BackOff[min(max(delivery, 1), n)-1]
	}
	return c.config.AckWait
}

// info reads the consumer's settings after a pause.
func (c *Consumer) info(ctx context.Context, pause time.Duration) (*jetstream.ConsumerInfo, error) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.AckTimeout)
	defer cancel()
	info, err := c.cons.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("natsbus: consumer info: %w", err)
	}
	return info, nil
}

// gone reports whether err says that there is nothing left to consume.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrConnectionClosed)
}

// apiPrefix returns what stands before CONSUMER.MSG.NEXT, as the client makes it.
func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}
