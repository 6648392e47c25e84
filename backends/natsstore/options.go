package natsstore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// Options are the settings of a Store. The zero value, like nil, is ready to
// use.
type Options struct {
	// Timeout is how long an operation may take when its context has no
	// deadline, from 1 ms up. Defaults to 5 seconds.
	Timeout time.Duration

	// Logger is told by New, at the level warn, of settings of the bucket that
	// are legal and can lose records. Defaults to slog.Default().
	Logger *slog.Logger
}

const defaultTimeout = 5 * time.Second

// withDefaults returns a checked copy of o.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Timeout < time.Millisecond {
		return c, fmt.Errorf("natsstore: %w: Options.Timeout is %v, want at least 1ms", claim.ErrInvalid, c.Timeout)
	}
	return c, nil
}

// StreamConfig returns the settings of a bucket for claims: in files, with one
// replica, each record with an end of its own. Set Replicas, Placement or
// MaxBytes as needed, and create it with [jetstream.JetStream]'s CreateStream.
//
// It is a bucket like any other, but for delete markers: CreateKeyValue lets a
// message have an end of its own only together with a marker for each message
// that ends, a second write that claims have no use for.
func StreamConfig(bucket string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName(bucket),
		Description:       "claims of once",
		Subjects:          []string{subjectPrefix(bucket) + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          1,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		AllowMsgTTL:       true,
		AllowDirect:       true,
		AllowRollup:       true,
		DenyDelete:        true,
	}
}

func streamName(bucket string) string    { return "KV_" + bucket }
func subjectPrefix(bucket string) string { return "$KV." + bucket + "." }
