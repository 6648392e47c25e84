package redisbus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

// The fields of a dead letter, beside those of the original entry.
const (
	// FieldDeadLetterID is bus.DeadLetter.ID: the same for every copy of one dead
	// letter.
	FieldDeadLetterID = "once-dead-letter-id"
	// FieldReason is why the message was given up.
	FieldReason = "once-reason"
	// FieldConsumer is the name of the consumer, or group, that gave up.
	FieldConsumer = "once-consumer"
	// FieldAttempt is how many times the handler was given the message.
	FieldAttempt = "once-attempt"
	// FieldOriginalStream and FieldOriginalEntry are where the message was.
	FieldOriginalStream = "once-original-stream"
	FieldOriginalEntry  = "once-original-entry"
)

// DeadLetterOptions are the settings of DeadLetter. The zero value is useful.
type DeadLetterOptions struct {
	// Timeout is how long one attempt to store a dead letter may take. Defaults
	// to 5 seconds.
	Timeout time.Duration
}

// DeadLetter returns a sink that adds dead letters to stream and returns nil only
// after the server has confirmed that. It is for dedupe.Options.DeadLetter or
// Options.Rejected, not for both.
//
// A dead letter has the fields of the original entry, in their order, and those
// above; those of an earlier dead letter are left out. Redis does not drop a second
// copy: FieldDeadLetterID tells it. stream must not be the one that is consumed, or
// dead letters come back as messages.
func DeadLetter(client redis.UniversalClient, stream string, o *DeadLetterOptions) (bus.DeadLetterSink, error) {
	timeout := 5 * time.Second
	if o != nil && o.Timeout != 0 {
		timeout = o.Timeout
	}
	switch {
	case timeout < 0:
		return nil, fmt.Errorf("redisbus: DeadLetterOptions.Timeout is negative: %v", timeout)
	case client == nil:
		return nil, errors.New("redisbus: client is nil")
	case stream == "":
		return nil, errors.New("redisbus: the name of the stream of dead letters is empty")
	}
	return func(ctx context.Context, d bus.DeadLetter) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		fields, err := deadLetter(d)
		if err != nil {
			return err
		}
		if err := client.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: fields}).Err(); err != nil {
			return fmt.Errorf("redisbus: dead letter: %w", plain(err))
		}
		return nil
	}, nil
}

// deadLetter returns the fields of a dead letter.
func deadLetter(d bus.DeadLetter) ([]string, error) {
	var fields []string
	original, ok := d.Message.Raw.(*Entry)
	if ok {
		for pair := range slices.Chunk(original.Fields, 2) {
			if !strings.HasPrefix(pair[0], "once-") {
				fields = append(fields, pair...)
			}
		}
	} else {
		var err error
		if fields, err = (encoding{defaultIDField, defaultDataField}).fields(d.Message); err != nil {
			return nil, err
		}
	}
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name, value)
		}
	}
	add(FieldDeadLetterID, d.ID)
	add(FieldReason, d.Reason)
	add(FieldConsumer, d.Consumer)
	if d.Attempt > 0 {
		add(FieldAttempt, strconv.Itoa(d.Attempt))
	}
	add(FieldOriginalStream, d.Message.Subject)
	if ok {
		add(FieldOriginalEntry, original.ID)
	}
	return fields, nil
}

// deadLetterID names the dead letter of a message that a group gave up, by the
// publisher's id or else by the message's position.
func deadLetterID(group string, m *bus.Message) string {
	what := "id:" + m.ID
	if m.ID == "" {
		what = "position:" + m.Position
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(len(group)) + ":" + group + what))
	return "dead." + hex.EncodeToString(sum[:16])
}
