package claim

import (
	"context"
	"time"
)

// Store is a claim store. The state machine and the nine rules of the package
// documentation bind every implementation; testutil/claimtest checks them.
//
// All methods are safe for concurrent use. Each honours ctx: it returns within
// the deadline, and what it then cannot say is ErrUnknown. Errors are of type
// *Error and match exactly one of the sentinels in this package.
//
// Most programs use a Store through package dedupe and never call it.
type Store interface {
	// TryClaim asks for the right to run the handler of key. The answer is in
	// the Verdict; an error means that there was no answer, and the Verdict is
	// zero. After ErrUnknown repeat the call with the same Request: a claim that
	// had been granted is answered Claimed again, with the same grant.
	TryClaim(ctx context.Context, key Key, req Request) (Verdict, error)

	// Extend moves the end of the grant's lease to the store's now plus ttl,
	// also when the lease is over and nobody took the key. It returns ErrLost
	// when the claim is no longer the caller's.
	Extend(ctx context.Context, key Key, grant Grant, ttl time.Duration) error

	// MarkDone records that the handler finished. It is accepted after the end
	// of the lease too, as long as nobody took the key. Recovered tells that the
	// store had no record of the claim and has the completion now: the store
	// lost records. It returns ErrLost when another owner took the key; the
	// caller must not acknowledge then.
	MarkDone(ctx context.Context, key Key, grant Grant, c Completion) (recovered bool, err error)

	// MarkDead records that the message was given up for good, for the retention
	// that was asked for at the claim. A reason over MaxReasonBytes is cut.
	MarkDead(ctx context.Context, key Key, grant Grant, reason string) error

	// Release gives the claim back, so that the next delivery may claim the key,
	// or may from delay on when delay is positive. Fence and attempt are kept. A
	// grant whose fence is zero, from a claim whose answer never came, is matched
	// by its token alone, and its attempt is given back.
	Release(ctx context.Context, key Key, grant Grant, delay time.Duration) error
}

// Takeover says what happens to a key whose owner let the lease run out.
type Takeover uint8

// The takeover policies.
const (
	// Rerun grants the key to the next claimant. It is the default: right for
	// handlers that are guarded by fence or key, or harmless to run again.
	Rerun Takeover = iota
	// Park answers Parked until an operator revives or forgets the key: right
	// where a second run is worse than a late one.
	Park
)

// Request is what a claimant asks for.
type Request struct {
	// Token is the claimant's token for this attempt. Required.
	Token Token
	// TTL is the lease: how long the claim holds unless it is extended; a store may
	// let it hold for up to MaxGrace more. At least MinTTL, at most MaxTTL.
	TTL time.Duration
	// Retention is how long the record outlives its lease while nobody finishes
	// the key, and how long a dead one is kept. At least TTL, at most
	// MaxRetention.
	Retention time.Duration
	// Fingerprint is compared with the record's. Zero: no comparison.
	Fingerprint Fingerprint
	// MaxAttempts is how many grants the key may have; the claim after the last
	// makes it dead. Zero: no limit.
	MaxAttempts int
	// Takeover is the policy for a lease that another owner let run out.
	Takeover Takeover
}

// Verdict is a store's answer to TryClaim.
type Verdict struct {
	// Outcome is the answer. The other fields are set as they say.
	Outcome Outcome
	// Grant is set for Claimed.
	Grant Grant
	// Takeover is set for Claimed when another owner's lease had run out.
	Takeover bool
	// Remaining is, for Claimed, the lease that is left; for Pending, how long
	// to wait until the key may be claimable; for Done, the retention left.
	Remaining time.Duration
	// Attempt is the record's attempt for Dead and Parked.
	Attempt int
	// Result is, for Done, the result that was kept, or nil.
	Result []byte
	// Omitted is set for Done when there was a result too large to keep.
	Omitted bool
	// Reason is set for Dead.
	Reason string
}

// Completion is what MarkDone records.
type Completion struct {
	// Retention is how long the key is remembered as done; where it is that of the
	// claim, and the lease holds, for the rest of the lease as well. At least
	// MinRetention, at most MaxRetention.
	Retention time.Duration
	// Result is handed to later deliveries of the key. Nil: none. A result over
	// MaxResultBytes is not kept; the record says Omitted instead.
	Result []byte
	// Omitted says that there was a result which the caller chose not to keep.
	Omitted bool
	// Fingerprint is that of the request. It is used only when the store lost
	// the claim's record; otherwise the record's own is kept.
	Fingerprint Fingerprint
}
