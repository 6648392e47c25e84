package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
)

// The headers of a dead letter, beside those of the original message.
const (
	// HeaderReason is why the message was given up.
	HeaderReason = "Once-Reason"
	// HeaderConsumer is the name of the consumer that gave up.
	HeaderConsumer = "Once-Consumer"
	// HeaderAttempt is how many times the handler was given the message.
	HeaderAttempt = "Once-Attempt"
	// HeaderOriginalID is the publisher's id, absent when it set none.
	HeaderOriginalID = "Once-Original-Id"
	// HeaderOriginalSubject is where the message was published.
	HeaderOriginalSubject = "Once-Original-Subject"
	// HeaderOriginalPosition is where the message was kept.
	HeaderOriginalPosition = "Once-Original-Position"
	// HeaderOriginalPublished is when it was stored, as RFC 3339 with
	// nanoseconds.
	HeaderOriginalPublished = "Once-Original-Published"
)

// DeadLetterOptions are the settings of DeadLetter. The zero value is useful.
type DeadLetterOptions struct {
	// Timeout is how long one attempt to store a dead letter may take. Defaults
	// to 5 seconds.
	Timeout time.Duration
}

// DeadLetter returns a sink that publishes dead letters to subject and returns
// nil only after the server has confirmed that they are stored.
//
// The payload is the original's, byte for byte, and so are the headers, but for
// those that the server or a client would act on: they are kept under another
// name, so that a dead letter of a message that expected a sequence is not
// refused, and one of a rollup does not purge the stream. See [Sanitize]. The
// headers above are added.
//
// The message id is bus.DeadLetter.ID, so that within its duplicate window the
// stream keeps one copy of what is sent twice.
//
// A stream must cover subject; DeadLetter asks the server and returns an error
// otherwise. It must not be the stream that is consumed, or dead letters come
// back as messages. It must take messages about two kilobytes larger than the
// consumed one does: what it refuses cannot be given up and is retried.
func DeadLetter(ctx context.Context, js jetstream.JetStream, subject string, o *DeadLetterOptions) (bus.DeadLetterSink, error) {
	timeout := 5 * time.Second
	if o != nil && o.Timeout != 0 {
		timeout = o.Timeout
	}
	switch {
	case timeout < 0:
		return nil, fmt.Errorf("natsbus: DeadLetterOptions.Timeout is negative: %v", timeout)
	case js == nil:
		return nil, errors.New("natsbus: js is nil")
	}
	stream, err := js.StreamNameBySubject(ctx, subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("natsbus: no stream takes dead letters at %q: make one with that subject: %w", subject, err)
	}
	if err != nil {
		return nil, fmt.Errorf("natsbus: looking for the stream of dead letters: %w", err)
	}
	return func(ctx context.Context, d bus.DeadLetter) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		m := &nats.Msg{Subject: subject, Header: deadLetterHeader(d), Data: d.Message.Data}
		if _, err := js.PublishMsg(ctx, m, jetstream.WithMsgID(d.ID), jetstream.WithExpectStream(stream)); err != nil {
			return fmt.Errorf("natsbus: dead letter: %w", err)
		}
		return nil
	}, nil
}

// deadLetterHeader returns the headers of a dead letter.
func deadLetterHeader(d bus.DeadLetter) nats.Header {
	m := d.Message
	h := Sanitize(m.Header)
	set := func(key, value string) {
		if value != "" {
			h[key] = []string{clean(value, maxHeaderValue)}
		}
	}
	set(HeaderReason, d.Reason)
	set(HeaderConsumer, d.Consumer)
	set(HeaderOriginalID, m.ID)
	set(HeaderOriginalSubject, m.Subject)
	set(HeaderOriginalPosition, m.Position)
	if d.Attempt > 0 {
		set(HeaderAttempt, strconv.Itoa(d.Attempt))
	}
	if !m.Published.IsZero() {
		set(HeaderOriginalPublished, m.Published.UTC().Format(time.RFC3339Nano))
	}
	return h
}
