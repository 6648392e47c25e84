package kafkabus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// settle turns the settlement of a delivery into what becomes of it here.
func (s *session) settle(p *partition, d *delivery, settled bus.Settlement) verdict {
	counts := &s.c.counts
	var delay time.Duration
	switch settled.Action {
	case bus.ActionAck:
		counts.acked.Add(1)
		return verdict{}
	case bus.ActionReject:
		counts.rejected.Add(1)
		return verdict{}
	case bus.ActionAbandon:
		counts.abandoned.Add(1)
		delay = s.c.opts.AbandonedAfter
	default:
		counts.retried.Add(1)
		if delay = settled.Delay; !settled.HasDelay {
			delay = s.c.opts.Backoff(d.msg.Delivery)
		}
	}
	now := time.Now()
	if settled.Action == bus.ActionRetry && s.c.opts.RetryTopic != "" && now.Add(delay).Sub(d.since) > s.c.opts.HoldFor {
		if err := s.forward(p.ctx, d); err == nil {
			counts.forwarded.Add(1)
			return verdict{}
		} else {
			s.c.opts.Logger.Warn("kafkabus: the retry topic took no record, it is held", "topic", p.topic, "partition", p.number, "error", err)
		}
	} else if now.Sub(d.told) >= s.c.opts.HoldFor {
		d.told = now
		s.c.opts.Logger.Warn("kafkabus: a record holds its partition or lane", "topic", p.topic, "partition", p.number,
			"offset", d.record.Offset, "for", now.Sub(d.since).Round(time.Second), "deliveries", d.msg.Delivery)
	}
	return verdict{hold: true, delay: delay}
}

// forward publishes a copy of a record to the retry topic and returns when the
// brokers have it.
func (s *session) forward(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	r := copyOf(d.record, s.c.opts.RetryTopic)
	setHeader(r, HeaderDeliveries, strconv.Itoa(d.msg.Delivery))
	if err := s.c.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("kafkabus: retry topic: %w", err)
	}
	return nil
}

// copyOf returns a copy of r for a topic, with where it came from in its headers.
// A copy of a copy keeps where the first one came from.
func copyOf(r *kgo.Record, topic string) *kgo.Record {
	c := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: append([]kgo.RecordHeader(nil), r.Headers...)}
	for _, h := range r.Headers {
		if h.Key == HeaderOriginalTopic {
			return c
		}
	}
	setHeader(c, HeaderOriginalTopic, r.Topic)
	setHeader(c, HeaderOriginalPartition, strconv.Itoa(int(r.Partition)))
	setHeader(c, HeaderOriginalOffset, strconv.FormatInt(r.Offset, 10))
	setHeader(c, HeaderOriginalPublished, r.Timestamp.UTC().Format(time.RFC3339Nano))
	return c
}

// setHeader sets a header and drops others of the name.
func setHeader(r *kgo.Record, key, value string) {
	kept := r.Headers[:0]
	for _, h := range r.Headers {
		if h.Key != key {
			kept = append(kept, h)
		}
	}
	r.Headers = append(kept, kgo.RecordHeader{Key: key, Value: []byte(value)})
}
