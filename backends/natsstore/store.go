package natsstore

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// Store keeps claims in a key-value bucket. It is safe for concurrent use, holds
// nothing open and needs no closing. It implements claim.Store, claim.Batcher
// and claim.Inspector.
type Store struct {
	claim.Singles

	nc       *nats.Conn
	bucket   string
	stream   string
	api      string // what requests to JetStream begin with
	subjects string // what the subject of every record begins with
	timeout  time.Duration
	silence  time.Duration

	// maxAge is when the bucket drops every record, zero for never.
	maxAge time.Duration
	// ends says that a record may have an end of its own.
	ends bool
	// replicated says that other servers may have what the leader failed to keep.
	replicated bool
	maxValue   int // bytes

	clock *clock
	own   own
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// New returns a Store in the named bucket, which exists and holds nothing else.
// js, with its connection, stays the caller's.
//
// New checks the bucket. It fails with an error that matches claim.ErrInvalid
// when the bucket does not exist, its settings would break claims, or an option
// is out of its range, and with claim.ErrUnavailable when the server cannot be
// asked or refuses to be written to. What may only lose records is a warning to
// the Logger.
func New(ctx context.Context, js jetstream.JetStream, bucket string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case js == nil:
		return nil, fmt.Errorf("natsstore: %w: js is nil", claim.ErrInvalid)
	case bucket == "":
		return nil, fmt.Errorf("natsstore: %w: the bucket's name is empty", claim.ErrInvalid)
	}
	s := &Store{nc: js.Conn(), bucket: bucket, stream: streamName(bucket), api: apiPrefix(js.Options()),
		subjects: subjectPrefix(bucket), timeout: opts.Timeout, silence: defaultSilence}
	if s.api != jetstream.DefaultAPIPrefix {
		// As the client's own key-value stores do, so that another domain or
		// account finds the bucket.
		s.subjects = s.api + s.subjects
	}
	s.Singles = claim.SinglesBy(func(ctx context.Context, op *claim.Op) { s.Apply(ctx, []*claim.Op{op}) })
	s.clock = newClock(s.serverTime)
	s.own.records = map[claim.Digest]version{}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	if err := s.checkBucket(ctx, &opts); err != nil {
		return nil, err
	}
	if err := s.clock.renew(ctx, 0, time.Now()); err != nil {
		return nil, fmt.Errorf("natsstore: the server's time: %w", notDone(err))
	}
	if err := s.checkWrite(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix == "":
		return jetstream.DefaultAPIPrefix
	case o.APIPrefix[len(o.APIPrefix)-1] != '.':
		return o.APIPrefix + "."
	}
	return o.APIPrefix
}

// limit returns ctx with a deadline.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}
