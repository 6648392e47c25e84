package watermillbus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
)

// The metadata of a dead letter, beside that of the original message.
const (
	// MetadataDeadLetterID is bus.DeadLetter.ID: the same for every copy of one dead
	// letter.
	MetadataDeadLetterID = "once-dead-letter-id"
	// MetadataReason is why the message was given up.
	MetadataReason = "once-reason"
	// MetadataConsumer is the name of the consumer, handler or topic, that gave up.
	MetadataConsumer = "once-consumer"
	// MetadataAttempt is how many times the handler was given the message.
	MetadataAttempt = "once-attempt"
	// MetadataOriginalTopic is where the message was.
	MetadataOriginalTopic = "once-original-topic"
)

// DeadLetter returns a sink that publishes dead letters to topic. It is for
// dedupe.Options.DeadLetter or Options.Rejected, not for both. Publish of pub must
// return only when the broker has the message: an asynchronous publisher loses dead
// letters. A dead letter has the UUID, the metadata and the payload of the original,
// and the metadata above; of several values of a header it has the first.
func DeadLetter(pub message.Publisher, topic string) (bus.DeadLetterSink, error) {
	switch {
	case pub == nil:
		return nil, errors.New("watermillbus: the publisher of dead letters is nil")
	case topic == "":
		return nil, errors.New("watermillbus: the topic of dead letters is empty")
	}
	return func(ctx context.Context, d bus.DeadLetter) error {
		if err := pub.Publish(topic, deadLetter(ctx, d)); err != nil {
			return fmt.Errorf("watermillbus: dead letter: %w", err)
		}
		return nil
	}, nil
}

// Discard is the sink that keeps nothing, for Options.Rejected where a deduplicator
// has stored the dead letter already.
func Discard(context.Context, bus.DeadLetter) error { return nil }

// deadLetter returns the message of a dead letter.
func deadLetter(ctx context.Context, d bus.DeadLetter) *message.Message {
	msg := message.NewMessageWithContext(ctx, d.Message.ID, d.Message.Data)
	for k, values := range d.Message.Header {
		if len(values) > 0 && !strings.HasPrefix(k, "once-") {
			msg.Metadata.Set(k, values[0])
		}
	}
	set := func(key, value string) {
		if value != "" {
			msg.Metadata.Set(key, value)
		}
	}
	set(MetadataDeadLetterID, d.ID)
	set(MetadataReason, d.Reason)
	set(MetadataConsumer, d.Consumer)
	if d.Attempt > 0 {
		set(MetadataAttempt, strconv.Itoa(d.Attempt))
	}
	set(MetadataOriginalTopic, d.Message.Subject)
	return msg
}

// deadLetterID names the dead letter of a message that consumer gave up, by the
// message's id or else by its payload.
func deadLetterID(consumer string, m *bus.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(consumer), consumer)
	if m.ID != "" {
		fmt.Fprintf(h, "id:%s", m.ID)
	} else {
		fmt.Fprintf(h, "payload:%s", m.Data)
	}
	return "dead." + hex.EncodeToString(h.Sum(nil)[:16])
}
