package dedupe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Off switches an option off whose zero value means its default.
const Off = -1

// Options are the settings of a Deduper. Only Consumer is required. Durations
// and sizes that are zero take their default; nothing is clamped: what does not
// fit is an error of New that names the option.
type Options struct {
	// Consumer is the name under which messages are remembered. All processes of
	// one consumer use the same; two consumers of one message each run it once.
	Consumer string
	// Namespace separates tenants or environments in one store. Defaults to "".
	Namespace string

	// Key finds the id of a message. Defaults to ByMessageID.
	Key KeyFunc
	// MissingID is the policy for messages without an id. Defaults to
	// RejectMissing.
	MissingID MissingID
	// Fingerprint, when set, must be equal for all messages of one id: another
	// one is a Mismatch. Defaults to nil, no comparison. See PayloadFingerprint.
	Fingerprint func(m *bus.Message) claim.Fingerprint

	// Lease is how long a claim holds without being extended, and so how long a
	// message waits after its consumer crashed. It is extended while the handler
	// runs and need not cover it. Defaults to 30 s.
	Lease time.Duration
	// Margin is how long before the end of the lease the handler's context is
	// cancelled when the store was not heard from. Defaults to a tenth of Lease.
	Margin time.Duration
	// MaxRun bounds one run of the handler: then its context is cancelled with
	// the cause ErrMaxRun and the lease is no longer extended. Defaults to 15
	// minutes.
	MaxRun time.Duration
	// Retention is how long a finished id is remembered. It must be longer than
	// the longest time after which the bus or a publisher may repeat a message,
	// and at least twice Lease: a copy that came while the handler ran comes
	// again after up to a lease and a quarter. Defaults to 24 hours, or to twice
	// Lease if that is longer.
	Retention time.Duration
	// UnfinishedRetention is how long an unfinished or dead id is remembered
	// after its last lease, with its attempts. Defaults to Retention, or to
	// Lease if that is longer.
	UnfinishedRetention time.Duration
	// MaxAttempts is how many times the handler may be given a message before it
	// is dead. Crashes count. Defaults to 0, no limit.
	MaxAttempts int
	// Backoff is the delay before the next attempt after a failed one. Defaults
	// to bus.Exponential(time.Second, 5*time.Minute).
	Backoff bus.Backoff
	// Takeover says what happens when an earlier owner let its lease run out:
	// claim.Rerun, the default, or claim.Park.
	Takeover claim.Takeover

	// ClaimTimeout bounds the claim of one message, repetitions included; claims
	// share deadlines, so that one may have up to a sixteenth less. It must be
	// shorter than Lease minus Margin. Defaults to 2 s, or to a quarter of Lease
	// if that is shorter.
	ClaimTimeout time.Duration
	// CommitTimeout bounds the commit of one message, repetitions included, or up
	// to a sixteenth less; the lease is kept meanwhile. Defaults to 15 s.
	CommitTimeout time.Duration
	// StoreDown is the policy while the store gives no answer. Defaults to
	// FailClosed.
	StoreDown StoreDown
	// CommitUnknown is the policy after CommitTimeout. Defaults to NoAck.
	CommitUnknown CommitUnknown
	// CircuitThreshold is how many claims in a row may get no answer before the
	// store is left alone for a while. Defaults to 5; Off never leaves it alone.
	CircuitThreshold int
	// CircuitCooldown is how long the store is first left alone; it doubles up to
	// 30 times that while the store stays down. Defaults to 1 s.
	CircuitCooldown time.Duration

	// DeadLetter takes messages that are given up before they are rejected.
	// Defaults to nil: rejected messages are left to the bus alone.
	DeadLetter bus.DeadLetterSink
	// MaxResult is the largest result kept, in bytes; a larger one is recorded as
	// omitted. Defaults to 64 KiB; Off keeps none; at most claim.MaxResultBytes.
	MaxResult int
	// OnDuplicate is called for a message whose key is done, with the result that
	// was kept, before the message is acknowledged: to send a reply once more,
	// for example. Its error settles the message. Defaults to nil.
	OnDuplicate func(ctx context.Context, m *bus.Message, r Result) error

	// MemorySize is how many finished ids are remembered in this process.
	// Defaults to 65,536, about 6 MiB; Off remembers none.
	MemorySize int
	// MemoryTTL is how long an id is remembered here, and so how long an
	// operator's Forget may go unnoticed. Defaults to, and is at most, a minute.
	MemoryTTL time.Duration
	// MaxLive is how many messages may be in progress at once, and so how many
	// leases are kept; more are retried later with ErrBusy. Defaults to 100,000.
	MaxLive int
	// LocalWait is how long a second delivery of a key that runs in this process
	// waits for the first to end before it is answered ErrPending. It holds a
	// worker of the bus meanwhile. Defaults to 1 s; Off does not wait.
	LocalWait time.Duration

	// ObserveOnly runs every message as if there were no Deduper, and counts what
	// would have been skipped, with the age of duplicates: to choose Retention
	// before switching on. Defaults to false.
	ObserveOnly bool
	// Redelivery tells what the bus's consumer is set to, so that New can check
	// the settings above against it. Adapters read it from the server. Defaults
	// to the zero value: nothing is known, nothing is checked.
	Redelivery bus.Redelivery
	// Observer is told of every ending. Defaults to nil.
	Observer *Observer
	// Logger gets warnings, without ids or payloads. Defaults to slog.Default().
	Logger *slog.Logger
}

// withDefaults returns a copy in which defaults stand for zero values.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	def(&c.Lease, 30*time.Second)
	def(&c.Margin, c.Lease/10)
	def(&c.MaxRun, 15*time.Minute)
	def(&c.Retention, max(24*time.Hour, 2*c.Lease))
	def(&c.UnfinishedRetention, max(c.Retention, c.Lease))
	def(&c.ClaimTimeout, min(2*time.Second, c.Lease/4))
	def(&c.CommitTimeout, 15*time.Second)
	def(&c.CircuitThreshold, 5)
	def(&c.CircuitCooldown, time.Second)
	def(&c.MaxResult, 64<<10)
	def(&c.MemorySize, 1<<16)
	def(&c.MemoryTTL, time.Minute)
	def(&c.MaxLive, 100_000)
	def(&c.LocalWait, time.Second)
	if c.Key == nil {
		c.Key = ByMessageID
	}
	if c.Backoff == nil {
		c.Backoff = bus.Exponential(time.Second, 5*time.Minute)
	}
	if c.Observer == nil {
		c.Observer = &Observer{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func def[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// validate checks options that have their defaults.
func (o *Options) validate() error {
	var errs []error
	check := func(ok bool, name string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("dedupe: Options.%s is %v, want %s", name, value, want))
		}
	}
	check(o.Consumer != "", "Consumer", `""`, "the name of the consumer")
	check(len(o.Consumer) <= claim.MaxConsumerBytes, "Consumer", fmt.Sprint(len(o.Consumer), " bytes"), fmt.Sprint("at most ", claim.MaxConsumerBytes))
	check(len(o.Namespace) <= claim.MaxNamespaceBytes, "Namespace", fmt.Sprint(len(o.Namespace), " bytes"), fmt.Sprint("at most ", claim.MaxNamespaceBytes))
	check(o.MissingID <= PassThrough, "MissingID", o.MissingID, "one of the policies")
	check(o.Lease >= 10*time.Millisecond && o.Lease <= claim.MaxTTL, "Lease", o.Lease, fmt.Sprint("10ms to ", claim.MaxTTL))
	check(o.Margin > 0 && o.Margin <= o.Lease/2, "Margin", o.Margin, "more than 0 and at most half of Lease")
	check(o.MaxRun > 0, "MaxRun", o.MaxRun, "more than 0")
	check(o.Retention >= 2*o.Lease && o.Retention <= claim.MaxRetention, "Retention", o.Retention, fmt.Sprint("twice Lease to ", claim.MaxRetention))
	check(o.UnfinishedRetention >= o.Lease && o.UnfinishedRetention <= claim.MaxRetention, "UnfinishedRetention", o.UnfinishedRetention, fmt.Sprint("Lease to ", claim.MaxRetention))
	check(o.MaxAttempts >= 0 && o.MaxAttempts <= claim.MaxAttempts, "MaxAttempts", o.MaxAttempts, fmt.Sprint("0 to ", claim.MaxAttempts))
	check(o.Takeover <= claim.Park, "Takeover", o.Takeover, "claim.Rerun or claim.Park")
	check(o.ClaimTimeout > 0 && o.ClaimTimeout < o.Lease-o.Margin, "ClaimTimeout", o.ClaimTimeout, "more than 0 and less than Lease minus Margin")
	check(o.CommitTimeout > 0, "CommitTimeout", o.CommitTimeout, "more than 0")
	check(o.StoreDown <= FailOpen, "StoreDown", o.StoreDown, "FailClosed or FailOpen")
	check(o.CommitUnknown <= AckAnyway, "CommitUnknown", o.CommitUnknown, "NoAck or AckAnyway")
	check(o.CircuitThreshold >= Off, "CircuitThreshold", o.CircuitThreshold, "at least 1, or Off")
	check(o.CircuitCooldown > 0, "CircuitCooldown", o.CircuitCooldown, "more than 0")
	check(o.MaxResult >= Off && o.MaxResult <= claim.MaxResultBytes, "MaxResult", o.MaxResult, fmt.Sprint("Off to ", claim.MaxResultBytes))
	check(o.MemorySize >= Off, "MemorySize", o.MemorySize, "at least 1, or Off")
	check(o.MemoryTTL > 0 && o.MemoryTTL <= time.Minute, "MemoryTTL", o.MemoryTTL, "more than 0 and at most a minute")
	check(o.MaxLive > 0, "MaxLive", o.MaxLive, "more than 0")
	check(o.LocalWait >= Off, "LocalWait", o.LocalWait, "more than 0, or Off")
	check(o.Redelivery.Longest <= o.Retention, "Retention", o.Retention,
		fmt.Sprintf("at least %v: the bus may deliver a message again for that long", o.Redelivery.Longest))
	return errors.Join(errs...)
}

// findings returns what is allowed and may still surprise.
func (o *Options) findings() []string {
	var found []string
	note := func(when bool, format string, args ...any) {
		if when {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	r := o.Redelivery
	note(o.DeadLetter == nil && o.MaxAttempts > 0,
		"MaxAttempts is %d and DeadLetter is nil: a message that fails so often is rejected and only the bus may still have its payload", o.MaxAttempts)
	note(o.DeadLetter == nil && o.Takeover == claim.Park,
		"Takeover is Park and DeadLetter is nil: a parked message is rejected and only the bus may still have its payload")
	note(r.MaxDeliver > 0 && o.MaxAttempts == 0,
		"the bus gives up after %d deliveries, without a word, and MaxAttempts is 0: set MaxAttempts and leave the bus unlimited", r.MaxDeliver)
	note(r.MaxDeliver > 0 && o.MaxAttempts >= r.MaxDeliver,
		"the bus gives up after %d deliveries, before MaxAttempts (%d) is reached: pending retries use deliveries up too", r.MaxDeliver, o.MaxAttempts)
	note(r.AckWait > 0 && r.AckWait < o.ClaimTimeout,
		"the bus delivers again after %v, before a claim may have its answer (ClaimTimeout %v): the message is delivered twice whenever the store is slow", r.AckWait, o.ClaimTimeout)
	note(o.StoreDown == FailOpen, "StoreDown is FailOpen: messages run without a claim while the store is down")
	note(o.ObserveOnly, "ObserveOnly is set: nothing is deduplicated")
	return found
}
