package natsstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// minValueBytes has room for any record without a result: an id and names of
// the largest size, a reason, and the rest.
const minValueBytes = 8 << 10

// headerBytes is what the headers of a write take at most.
const headerBytes = 128

// checkBucket reads the bucket's settings, refuses those under which the store
// would be wrong, and warns of those that may lose records.
func (s *Store) checkBucket(ctx context.Context, o *Options) error {
	info, err := s.info(ctx)
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return fmt.Errorf("natsstore: %w: there is no bucket %q; create one with natsstore.StreamConfig", claim.ErrInvalid, s.bucket)
	case errors.Is(err, claim.ErrInvalid):
		return fmt.Errorf("natsstore: %w", err)
	case err != nil:
		return fmt.Errorf("natsstore: the settings of bucket %q: %w", s.bucket, claim.Unavailable(err))
	}
	if why := misfit(&info.Config); why != "" {
		return fmt.Errorf("natsstore: %w: bucket %q: %s", claim.ErrInvalid, s.bucket, why)
	}
	for _, text := range doubts(info) {
		o.Logger.Warn("natsstore: "+text, "bucket", s.bucket)
	}
	s.maxAge = info.Config.MaxAge
	s.ends = info.Config.AllowMsgTTL
	s.replicated = info.Config.Replicas > 1
	s.maxValue = int(s.nc.MaxPayload())
	if m := int(info.Config.MaxMsgSize); m > 0 {
		s.maxValue = min(s.maxValue, m)
	}
	s.maxValue -= headerBytes
	if s.maxValue < minValueBytes {
		return fmt.Errorf("natsstore: %w: bucket %q: a message may have %d bytes, want at least %d: raise the bucket's MaxMsgSize or the server's max_payload",
			claim.ErrInvalid, s.bucket, s.maxValue+headerBytes, minValueBytes+headerBytes)
	}
	return nil
}

// misfit says why claims must not be kept in a stream, or "".
func misfit(c *jetstream.StreamConfig) string {
	limited := func(n int64) bool { return n > 0 }
	switch {
	case c.Mirror != nil || len(c.Sources) > 0:
		return "it copies another stream, and claims must be written where they are decided; use that one"
	case c.MaxMsgsPerSubject != 1:
		return fmt.Sprintf("its history is %d, want 1: with more, the record before comes back when the last one ends", c.MaxMsgsPerSubject)
	case c.Discard != jetstream.DiscardNew && (limited(c.MaxBytes) || limited(c.MaxMsgs)):
		return "it drops its oldest records when it is full, live leases among them; set Discard to DiscardNew"
	case c.Retention != jetstream.LimitsPolicy:
		return fmt.Sprintf("its retention is %v, want limits", c.Retention)
	case c.NoAck:
		return "it does not acknowledge what it stores; unset NoAck"
	case c.Sealed:
		return "it is sealed"
	case !c.AllowMsgTTL && c.MaxAge == 0:
		return "nothing in it ever ends; allow messages a TTL of their own (AllowMsgTTL, servers from 2.11 on), or give the bucket a TTL " +
			"that is longer than the lease and the retention together"
	}
	return ""
}

// doubts lists what may lose records.
func doubts(info *jetstream.StreamInfo) (texts []string) {
	c := &info.Config
	if c.Storage == jetstream.MemoryStorage {
		texts = append(texts, "the bucket is in memory: when its servers restart it is empty, and messages will be handled again")
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		texts = append(texts, "the bucket is written after it is acknowledged: a crash of the server loses the last claims and completions")
	}
	if info.Cluster != nil && info.Cluster.Name != "" && c.Replicas == 1 {
		texts = append(texts, "the bucket has one replica in a cluster: while its server is away there are no claims")
	}
	if c.Replicas == 2 {
		texts = append(texts, "the bucket has two replicas: while either is away there are no claims; use three")
	}
	return texts
}

// checkWrite sends a write that the server must refuse because of its revision,
// so that a user without the permission, or a stream that does not compare
// revisions, is found at the start.
func (s *Store) checkWrite(ctx context.Context) error {
	m := s.newWrite(s.subjects+strings.Repeat("0", 2*len(claim.Digest{})), nil, math.MaxInt64, 0)
	reply, _, err := s.ask(ctx, m) // it is refused, so it changes nothing
	if err == nil {
		_, err = parseAck(reply)
	}
	switch {
	case errors.Is(err, errConflict):
		return nil
	case err == nil:
		return fmt.Errorf("natsstore: %w: bucket %q does not compare revisions", claim.ErrInvalid, s.bucket)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("natsstore: no answer to a write to bucket %q, as when the user may not publish to %s>: %w", s.bucket, s.subjects, claim.Unavailable(err))
	}
	return fmt.Errorf("natsstore: a write to bucket %q: %w", s.bucket, claim.Unavailable(err))
}
