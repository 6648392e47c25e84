package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// shortAckWait is an ack wait that a full garbage collection, a failover of a
// store or a slow disk can outlast.
const shortAckWait = time.Second

// streamTimeout is how long to wait for the stream's settings: nobody answers a
// user who may not ask.
const streamTimeout = 2 * time.Second

// Check reads the settings of cons and its stream from the server and returns
// those that can lose or repeat messages, worst first. js must be the JetStream
// that cons is from. o says how many workers there are; nil stands for the
// defaults.
func Check(ctx context.Context, js jetstream.JetStream, cons jetstream.Consumer, o *Options) ([]bus.Finding, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := readSettings(ctx, js, cons)
	if err != nil {
		return nil, err
	}
	return s.findings(opts.workers()), nil
}

// settings are what the server says about a consumer.
type settings struct {
	consumer  *jetstream.ConsumerInfo
	stream    *jetstream.StreamInfo // nil when it could not be read
	streamErr error                 // why
}

// readSettings asks the server. That the stream cannot be read is no error: a
// consumer in another account, or one with few permissions, works without.
func readSettings(ctx context.Context, js jetstream.JetStream, cons jetstream.Consumer) (settings, error) {
	if js == nil || cons == nil {
		return settings{}, errors.New("natsbus: js or cons is nil")
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return settings{}, fmt.Errorf("natsbus: consumer info: %w", err)
	}
	s := settings{consumer: info}
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, info.Stream)
	if err != nil {
		s.streamErr = err
		return s, nil
	}
	s.stream = stream.CachedInfo()
	return s, nil
}

// findings applies all rules.
func (s settings) findings(workers int) []bus.Finding {
	all := deliveryFindings(s.consumer.Config, workers)
	all = append(all, stateFindings(s.consumer.Config)...)
	if s.stream != nil {
		all = append(all, streamFindings(s.stream.Config)...)
	} else {
		all = append(all, bus.Finding{
			Severity: bus.Note, Setting: "stream", Value: s.consumer.Stream,
			Consequence: fmt.Sprintf("its settings could not be read (%v) and were not checked", s.streamErr),
			Remedy:      "allow the user $JS.API.STREAM.INFO." + s.consumer.Stream,
		})
	}
	slices.SortStableFunc(all, func(a, b bus.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return all
}

// deliveryFindings looks at when a consumer delivers again.
func deliveryFindings(c jetstream.ConsumerConfig, workers int) (f []bus.Finding) {
	if c.AckPolicy != jetstream.AckExplicitPolicy {
		f = append(f, bus.Finding{
			Severity: bus.Refuse, Setting: "AckPolicy", Value: c.AckPolicy.String(),
			Consequence: "a message counts as processed without having been, and is lost when its handler fails",
			Remedy:      "make the consumer with AckExplicitPolicy",
		})
	}
	if c.PriorityPolicy != jetstream.PriorityPolicyNone {
		f = append(f, bus.Finding{
			Severity: bus.Refuse, Setting: "PriorityPolicy", Value: fmt.Sprint(c.PriorityPolicy),
			Consequence: "this package does not speak the protocol of priority groups",
			Remedy:      "use a consumer without PriorityGroups",
		})
	}
	if c.MaxDeliver > 0 {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "MaxDeliver", Value: fmt.Sprint(c.MaxDeliver),
			Consequence: "the last delivery that is not settled is dropped without a word; every retry, a wait for another owner's lease too, uses up one",
			Remedy:      "set -1 and let the deduplicator count attempts and dead-letter",
		})
	}
	if len(c.BackOff) > 0 {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "BackOff", Value: fmt.Sprint(c.BackOff),
			Consequence: "it overrides AckWait: a handler that takes longer than an entry is run twice, side by side, unless it is kept alive",
			Remedy:      "leave it empty; retries are delayed by the handler's error or Options.Backoff",
		})
	}
	shortest := c.AckWait
	for _, d := range c.BackOff {
		shortest = min(shortest, d)
	}
	if shortest > 0 && shortest < shortAckWait {
		setting := "AckWait"
		if len(c.BackOff) > 0 {
			setting = "BackOff"
		}
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: setting, Value: shortest.String(),
			Consequence: "a pause of that length delivers messages again while they are worked on",
			Remedy:      "wait for at least a few seconds; 30 seconds are usual",
		})
	}
	if c.MaxAckPending > 0 && c.MaxAckPending < workers {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "MaxAckPending", Value: fmt.Sprint(c.MaxAckPending),
			Consequence: fmt.Sprintf("only so many of the %d workers get messages, and one that waits for a retry holds a place", workers),
			Remedy:      "set it to several times the workers of all processes, or take fewer workers",
		})
	}
	if c.HeadersOnly {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "HeadersOnly", Value: "true",
			Consequence: "payloads are missing: all messages have the same payload hash",
			Remedy:      "deliver payloads, or do not identify or compare messages by them",
		})
	}
	return f
}

// stateFindings looks at how long the server remembers what was acked.
func stateFindings(c jetstream.ConsumerConfig) (f []bus.Finding) {
	if c.Durable == "" {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "Durable", Value: `""`,
			Consequence: "the consumer is deleted when it is idle, and what was acked with it: the next one starts over, or misses what came between",
			Remedy:      "name the consumer in Durable",
		})
	}
	if c.InactiveThreshold > 0 && c.Durable != "" {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "InactiveThreshold", Value: c.InactiveThreshold.String(),
			Consequence: "the consumer is deleted when nobody pulls for so long, and what was acked with it",
			Remedy:      "set 0",
		})
	}
	if c.MemoryStorage {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "MemoryStorage", Value: "true",
			Consequence: "acks are forgotten at a restart and their messages delivered again",
			Remedy:      "set false",
		})
	}
	if c.DeliverPolicy != jetstream.DeliverAllPolicy {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "DeliverPolicy", Value: c.DeliverPolicy.String(),
			Consequence: "messages from before the start are never delivered, also when the consumer has to be made again",
			Remedy:      "set DeliverAllPolicy if every message counts",
		})
	}
	return f
}

// streamFindings looks at what removes messages that nobody has processed.
func streamFindings(c jetstream.StreamConfig) (f []bus.Finding) {
	if c.Storage == jetstream.MemoryStorage {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "stream Storage", Value: c.Storage.String(),
			Consequence: "messages are lost when the server restarts", Remedy: "set FileStorage",
		})
	}
	if c.MaxAge > 0 {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "stream MaxAge", Value: c.MaxAge.String(),
			Consequence: "a message that is not processed by then is dropped",
			Remedy:      "keep it above the longest outage of the consumer",
		})
	}
	if c.Discard == jetstream.DiscardOld {
		for _, limit := range []struct {
			setting string
			value   int64
		}{
			{"stream MaxMsgs", c.MaxMsgs}, {"stream MaxBytes", c.MaxBytes}, {"stream MaxMsgsPerSubject", c.MaxMsgsPerSubject},
		} {
			if limit.value > 0 {
				f = append(f, bus.Finding{
					Severity: bus.Warn, Setting: limit.setting, Value: fmt.Sprint(limit.value),
					Consequence: "with DiscardOld a full stream drops its oldest messages, processed or not",
					Remedy:      "set DiscardNew, so that the publisher learns of it, or watch the consumer's lag",
				})
			}
		}
	}
	if c.NoAck {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "stream NoAck", Value: "true",
			Consequence: "publishers are not told whether a message was stored", Remedy: "set false",
		})
	}
	if c.Retention == jetstream.InterestPolicy {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "stream Retention", Value: c.Retention.String(),
			Consequence: "what is published while the consumer does not exist is dropped", Remedy: "make the consumer before the first publisher starts",
		})
	}
	if c.Retention == jetstream.WorkQueuePolicy {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "stream Retention", Value: c.Retention.String(),
			Consequence: "the window of Nats-Msg-Id forgets acked messages at a restart: a publisher that sends again then is not caught by it",
			Remedy:      "leave it to the deduplicator, with a retention above the publisher's retries",
		})
	}
	if c.Replicas == 1 {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "stream Replicas", Value: "1",
			Consequence: "the loss of one server's disk loses the messages", Remedy: "set 3 in a cluster",
		})
	}
	return f
}
