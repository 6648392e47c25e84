package claim

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Limits of the operations' arguments. Every store refuses what is outside of
// them with ErrInvalid before it writes, and clamps nothing silently.
const (
	MinTTL = time.Millisecond
	MaxTTL = 24 * time.Hour
	// MaxGrace bounds how much longer than its TTL a lease may hold: a store may know
	// the time of a grant no better.
	MaxGrace     = 10 * time.Millisecond
	MinRetention = time.Millisecond
	MaxRetention = 400 * 24 * time.Hour
	// MaxDelay bounds the delay of a Release.
	MaxDelay = 7 * 24 * time.Hour
	// MaxAttempts bounds Request.MaxAttempts.
	MaxAttempts = 1_000_000
	// MaxFence is the largest fence: 53 bits, since stores that compute in Lua
	// or JSON cannot tell larger ones apart.
	MaxFence = 1<<53 - 1
	// MaxResultBytes is the largest result that a store keeps.
	MaxResultBytes = 1 << 20
	// MaxReasonBytes is where a reason is cut.
	MaxReasonBytes = 1024
	// TombstoneTTL is how long the release of an unknown claim is remembered. It
	// is longer than any network keeps a late copy of the claim.
	TombstoneTTL = 10 * time.Minute
)

// CutReason returns the reason as stores keep it: valid UTF-8 of at most
// MaxReasonBytes.
func CutReason(reason string) string {
	if len(reason) > MaxReasonBytes {
		reason = reason[:MaxReasonBytes]
	}
	return strings.ToValidUTF8(reason, "")
}

// Validate checks the operation's arguments against the limits, and that what
// its kind needs is there. Stores call it before anything else.
func (op *Op) Validate() error {
	if op.Key.IsZero() {
		return fmt.Errorf("%w: the key is zero; make it with NewKey", ErrInvalid)
	}
	switch op.Kind {
	case OpTryClaim:
		return op.Request.validate()
	case OpExtend:
		return firstError(op.Grant.validate(), within("ttl", op.TTL, MinTTL, MaxTTL))
	case OpMarkDone:
		return firstError(op.Grant.validate(), within("Completion.Retention", op.Completion.Retention, MinRetention, MaxRetention))
	case OpMarkDead:
		return op.Grant.validate()
	case OpRelease:
		return firstError(op.Grant.validateToken(), within("delay", op.TTL, 0, MaxDelay))
	case OpForget, OpRevive:
		return nil
	}
	return fmt.Errorf("%w: unknown operation %d", ErrInvalid, op.Kind)
}

func (r *Request) validate() error {
	if r.Token.IsZero() {
		return fmt.Errorf("%w: Request.Token is zero; make it with NewToken", ErrInvalid)
	}
	if err := within("Request.TTL", r.TTL, MinTTL, MaxTTL); err != nil {
		return err
	}
	if err := within("Request.Retention", r.Retention, r.TTL, MaxRetention); err != nil {
		return err
	}
	if r.MaxAttempts < 0 || r.MaxAttempts > MaxAttempts {
		return fmt.Errorf("%w: Request.MaxAttempts is %d, want 0 to %d", ErrInvalid, r.MaxAttempts, MaxAttempts)
	}
	if r.Takeover > Park {
		return fmt.Errorf("%w: Request.Takeover is %d, want Rerun or Park", ErrInvalid, r.Takeover)
	}
	return nil
}

func (g *Grant) validate() error {
	if g.Fence == 0 {
		return fmt.Errorf("%w: Grant.Fence is zero", ErrInvalid)
	}
	return g.validateToken()
}

func (g *Grant) validateToken() error {
	if g.Token.IsZero() {
		return fmt.Errorf("%w: Grant.Token is zero", ErrInvalid)
	}
	// A store takes over the fence and the attempt of a grant that it has
	// forgotten, and must be able to count on from there.
	if g.Fence > MaxFence {
		return fmt.Errorf("%w: Grant.Fence is %d, want at most %d", ErrInvalid, g.Fence, uint64(MaxFence))
	}
	if g.Attempt < 0 || g.Attempt >= math.MaxInt32 {
		return fmt.Errorf("%w: Grant.Attempt is %d", ErrInvalid, g.Attempt)
	}
	return nil
}

func within(name string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%w: %s is %v, want %v to %v", ErrInvalid, name, d, low, high)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
