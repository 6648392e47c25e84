package kafkabus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// The headers of a dead letter and of a record in a retry topic, beside those of
// the original.
const (
	// HeaderDeadLetterID is bus.DeadLetter.ID: the same for every copy of one dead
	// letter.
	HeaderDeadLetterID = "once-dead-letter-id"
	// HeaderReason is why the message was given up.
	HeaderReason = "once-reason"
	// HeaderConsumer is the name of the consumer that gave up.
	HeaderConsumer = "once-consumer"
	// HeaderAttempt is how many times the handler was given the message.
	HeaderAttempt = "once-attempt"
	// HeaderDeliveries is how often a record was handed over before it went to the
	// retry topic.
	HeaderDeliveries = "once-deliveries"
	// HeaderOriginalTopic, and the next two, are where the record was first.
	HeaderOriginalTopic     = "once-original-topic"
	HeaderOriginalPartition = "once-original-partition"
	HeaderOriginalOffset    = "once-original-offset"
	// HeaderOriginalPublished is the original's time, as RFC 3339 with nanoseconds.
	HeaderOriginalPublished = "once-original-published"
)

// DeadLetterOptions are the settings of DeadLetter. The zero value is useful.
type DeadLetterOptions struct {
	// Timeout is how long one attempt to store a dead letter may take. Defaults
	// to 5 seconds.
	Timeout time.Duration
}

// DeadLetter returns a sink that publishes dead letters to topic and returns nil
// only after all replicas in sync have them. The record's key, value and headers
// are the original's, and the headers above are added. Kafka does not drop a
// second copy: HeaderDeadLetterID tells it.
//
// The client, for example Consumer.Client, must wait for acks of all replicas,
// which is its default. topic must not be consumed by the same group, or dead
// letters come back as messages.
func DeadLetter(client *kgo.Client, topic string, o *DeadLetterOptions) (bus.DeadLetterSink, error) {
	timeout := 5 * time.Second
	if o != nil && o.Timeout != 0 {
		timeout = o.Timeout
	}
	switch {
	case timeout < 0:
		return nil, fmt.Errorf("kafkabus: DeadLetterOptions.Timeout is negative: %v", timeout)
	case client == nil:
		return nil, errors.New("kafkabus: client is nil")
	case topic == "":
		return nil, errors.New("kafkabus: the topic of dead letters is empty")
	case client.OptValue(kgo.RequiredAcks) != kgo.AllISRAcks():
		return nil, errors.New("kafkabus: the client for dead letters must have kgo.RequiredAcks(kgo.AllISRAcks())")
	}
	return func(ctx context.Context, d bus.DeadLetter) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := client.ProduceSync(ctx, deadLetter(topic, d)).FirstErr(); err != nil {
			return fmt.Errorf("kafkabus: dead letter: %w", err)
		}
		return nil
	}, nil
}

// deadLetter returns the record of a dead letter.
func deadLetter(topic string, d bus.DeadLetter) *kgo.Record {
	var r *kgo.Record
	if original, ok := d.Message.Raw.(*kgo.Record); ok {
		r = copyOf(original, topic)
	} else {
		r = &kgo.Record{Topic: topic, Value: d.Message.Data}
		for name, values := range d.Message.Header {
			for _, v := range values {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(v)})
			}
		}
	}
	setHeader(r, HeaderDeadLetterID, d.ID)
	setHeader(r, HeaderReason, d.Reason)
	setHeader(r, HeaderConsumer, d.Consumer)
	if d.Attempt > 0 {
		setHeader(r, HeaderAttempt, strconv.Itoa(d.Attempt))
	}
	return r
}
