package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Inbox runs work in a transaction of a database in which the record of its key is
// kept too: sqlstore.Inbox is one. Tx is what the work gets, such as *sql.Tx.
type Inbox[Tx any] interface {
	// Run runs work and commits it together with the record that key is done. The
	// outcome is Claimed when it did, and otherwise says why it did not. With an
	// error, which is work's own or a *claim.Error, nothing is committed, unless it
	// matches claim.ErrUnknown.
	Run(ctx context.Context, key claim.Key, fp claim.Fingerprint, work func(ctx context.Context, tx Tx) error) (claim.Verdict, error)
}

// InboxOptions are the settings of InTransaction. Only Consumer is required. What
// is named as in Options means the same; leases and retention are the Inbox's own
// affair.
type InboxOptions struct {
	// Consumer is the name under which messages are remembered.
	Consumer string
	// Namespace separates tenants or environments. Defaults to "".
	Namespace string
	// Key finds the id of a message. Defaults to ByMessageID.
	Key KeyFunc
	// MissingID is the policy for messages without an id. Defaults to
	// RejectMissing; PassThrough is refused, since nothing then ties the message to
	// its transaction.
	MissingID MissingID
	// Fingerprint, when set, must be equal for all messages of one id.
	Fingerprint func(m *bus.Message) claim.Fingerprint
	// Backoff is the delay before the next delivery after a failed one. Defaults to
	// bus.Exponential(time.Second, 5*time.Minute).
	Backoff bus.Backoff
	// Busy is the delay before the next delivery of a message on which another
	// transaction works. Defaults to 1 s, with jitter.
	Busy time.Duration
	// DeadLetter takes messages that are given up before they are rejected. Defaults
	// to nil.
	DeadLetter bus.DeadLetterSink
}

// InTransaction returns a bus.Handler that runs h in a transaction of inbox, at
// most once for each message id, with its effects in the database exactly as often.
// It stands in the place of Deduper.Wrap where all that a handler does is in one
// database. An error names the option that does not fit.
//
// h must leave the transaction open. When it fails the transaction is rolled back
// and the message is retried; Permanent and bus.Reject send it to DeadLetter and
// reject it.
func InTransaction[Tx any](inbox Inbox[Tx], o *InboxOptions, h func(ctx context.Context, tx Tx, m *bus.Message) error) (bus.Handler, error) {
	if inbox == nil || h == nil {
		return nil, errors.New("dedupe: InTransaction without an inbox or a handler")
	}
	var c InboxOptions
	if o != nil {
		c = *o
	}
	def(&c.Busy, time.Second)
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(time.Second, 5*time.Minute)
	}
	switch {
	case c.MissingID >= PassThrough:
		return nil, fmt.Errorf("dedupe: InboxOptions.MissingID is %v, want RejectMissing, HashPayload or UsePosition", c.MissingID)
	case c.Busy < 0:
		return nil, fmt.Errorf("dedupe: InboxOptions.Busy is %v, want more than 0", c.Busy)
	}
	// This Deduper is only asked for the ids of messages.
	names := &Options{Consumer: c.Consumer, Namespace: c.Namespace, Key: c.Key, MissingID: c.MissingID, Fingerprint: c.Fingerprint}
	ids := &Deduper{opts: names.withDefaults()}
	if err := ids.opts.validate(); err != nil {
		return nil, err
	}
	return func(ctx context.Context, m *bus.Message) error {
		a := &attempt{msg: m}
		if err := ids.identify(a); err != nil {
			return c.reject(ctx, a, 0, err)
		}
		verdict, err := inbox.Run(ctx, a.key, a.fp, func(ctx context.Context, tx Tx) error { return h(ctx, tx, m) })
		return c.settle(ctx, a, verdict, err)
	}, nil
}

// settle returns how a delivery is settled that ended so.
func (c *InboxOptions) settle(ctx context.Context, a *attempt, v claim.Verdict, err error) error {
	var store *claim.Error
	switch {
	case errors.Is(err, claim.ErrUnknown):
		return bus.RetryAfter(fmt.Errorf("%w: %w", ErrCommitUnknown, err), c.Backoff(max(1, a.msg.Delivery)))
	case errors.As(err, &store):
		return bus.RetryAfter(fmt.Errorf("%w: %w", ErrStoreDown, err), c.Backoff(max(1, a.msg.Delivery)))
	case err != nil && isPermanent(err):
		return c.reject(ctx, a, a.msg.Delivery, err)
	case err != nil && bus.SettlementOf(err).Action == bus.ActionRetry && !bus.SettlementOf(err).HasDelay:
		return bus.RetryAfter(err, c.Backoff(max(1, a.msg.Delivery)))
	case err != nil:
		return err
	}
	switch v.Outcome {
	case claim.Claimed, claim.Done:
		return nil
	case claim.Pending:
		delay := v.Remaining
		if delay == 0 {
			delay = c.Busy
		}
		return bus.RetryAfter(ErrPending, jitter(delay))
	case claim.Dead:
		return c.reject(ctx, a, v.Attempt, fmt.Errorf("%w: %s", ErrDead, v.Reason))
	case claim.Mismatch:
		return c.reject(ctx, a, 0, ErrMismatch)
	}
	return bus.RetryAfter(claim.Corrupt("the inbox's verdict is "+v.Outcome.String()), c.Backoff(max(1, a.msg.Delivery)))
}

// reject hands the message to the sink, if there is one, and rejects it.
func (c *InboxOptions) reject(ctx context.Context, a *attempt, attempt int, err error) error {
	if c.DeadLetter == nil {
		return bus.Reject(err)
	}
	id := a.key.Digest()
	if a.key.IsZero() {
		id = nameOf(a.msg)
	}
	sinkErr := c.DeadLetter(ctx, bus.DeadLetter{
		Message: a.msg, ID: "dead." + id.String(), Consumer: c.Consumer, Reason: claim.CutReason(err.Error()), Attempt: attempt,
	})
	if sinkErr != nil {
		return bus.RetryAfter(fmt.Errorf("%w; dedupe: dead-letter sink: %w", err, sinkErr), c.Backoff(max(1, a.msg.Delivery)))
	}
	return bus.Reject(err)
}
