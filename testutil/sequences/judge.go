package sequences

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/claim"
)

// judge carries out op, which the store has answered, on the reference and
// compares the answers. Errors name no fences and no moments, which differ when
// a sequence is played again.
func (p *player) judge(op *claim.Op) error {
	h := p.heldOf(op.Key)
	want := *op
	want.Verdict, want.Recovered, want.Err = claim.Verdict{}, false, nil
	next, write := h.record, false
	if want.Err = want.Validate(); want.Err == nil {
		next, write = claim.Step(h.record, &want, p.now)
	}
	if err := sameError(op, want.Err); err != nil {
		return err
	}
	if op.Recovered != want.Recovered {
		return fmt.Errorf("recovered is %v, want %v", op.Recovered, want.Recovered)
	}
	if err := p.sameVerdict(&op.Verdict, &want.Verdict); err != nil {
		return err
	}
	if want.Verdict.Outcome == claim.Claimed {
		fence := op.Verdict.Grant.Fence
		if err := h.rightFence(fence, write, p.now); err != nil {
			return err
		}
		if write {
			next.Fence = fence
			h.top, h.topAt = max(h.top, fence), p.now
		}
		h.grants[op.Request.Token] = op.Verdict.Grant
	}
	if write {
		if op.Kind == claim.OpMarkDone {
			h.finisher = op.Grant
			h.chunk.mark(&next, op, p.now)
		}
		next.Result = bytes.Clone(next.Result)
		h.record = next
	}
	return nil
}

// rightFence checks the fence of an answer Claimed; granted says that it is not
// that of a claim which was granted before.
func (h *held) rightFence(fence uint64, granted bool, now claim.Instant) error {
	alive := h.record.State != claim.StateAbsent && now < h.record.Expires
	switch {
	case fence == 0 || fence > claim.MaxFence:
		return errors.New("the fence is not between 1 and claim.MaxFence")
	case !granted && fence != h.record.Fence:
		return errors.New("the fence is not that of the first answer")
	case granted && alive && fence <= h.record.Fence:
		return errors.New("the fence is not above that of the record")
	case granted && now > h.topAt && fence <= h.top:
		return errors.New("the fence is not above those of the grants before, although time has passed")
	}
	return nil
}

// sentinels are the errors of package claim.
var sentinels = []error{claim.ErrLost, claim.ErrUnknown, claim.ErrUnavailable, claim.ErrCorrupt,
	claim.ErrTooLarge, claim.ErrInvalid}

// sentinel returns the only one that err matches, or err.
func sentinel(err error) error {
	found := err
	matches := 0
	for _, s := range sentinels {
		if errors.Is(err, s) {
			found = s
			matches++
		}
	}
	if matches != 1 {
		return err
	}
	return found
}

func sameError(op *claim.Op, want error) error {
	switch got := sentinel(op.Err); {
	case got != sentinel(want):
		return fmt.Errorf("error %v, want %v", got, sentinel(want))
	case got == nil:
		return nil
	}
	var e *claim.Error
	if !errors.As(op.Err, &e) || e.Op != op.Kind || e.Key != op.Key {
		return fmt.Errorf("the error is not a *claim.Error about the operation and its key")
	}
	return nil
}

// sameVerdict compares all of a verdict but the fence of its grant.
func (p *player) sameVerdict(got, want *claim.Verdict) error {
	switch {
	case got.Outcome != want.Outcome:
		return fmt.Errorf("%v, want %v", got.Outcome, want.Outcome)
	case got.Takeover != want.Takeover:
		return fmt.Errorf("takeover is %v, want %v", got.Takeover, want.Takeover)
	case got.Grant.Token != want.Grant.Token:
		return errors.New("the grant's token is another")
	case got.Grant.Attempt != want.Grant.Attempt:
		return fmt.Errorf("the grant's attempt is %d, want %d", got.Grant.Attempt, want.Grant.Attempt)
	case want.Outcome != claim.Claimed && got.Grant.Fence != 0:
		return errors.New("a fence without a grant")
	case got.Attempt != want.Attempt:
		return fmt.Errorf("attempt %d, want %d", got.Attempt, want.Attempt)
	case got.Reason != want.Reason:
		return fmt.Errorf("reason %.80q, want %.80q", got.Reason, want.Reason)
	case got.Omitted != want.Omitted:
		return fmt.Errorf("omitted is %v, want %v", got.Omitted, want.Omitted)
	case !bytes.Equal(got.Result, want.Result):
		return fmt.Errorf("a result of %d bytes, want the %d that were given", len(got.Result), len(want.Result))
	case (got.Remaining == 0) != (want.Remaining == 0) || !p.sameLength(got.Remaining, want.Remaining):
		return p.lengths("remaining", got.Remaining, want.Remaining)
	}
	return nil
}

// drift is how much more time has gone by than the reference knows of: none on a
// fake clock. It counts twice, since a store may stand still between its look at the
// clock and its look at what is left.
func (p *player) drift() time.Duration {
	if !p.real {
		return 0
	}
	return 2*max(0, time.Since(p.started)-p.advanced) + p.tolerance()
}

// tolerance is what two real clocks may differ by, and how much longer than its TTL
// a lease may hold.
func (p *player) tolerance() time.Duration {
	if !p.real {
		return 0
	}
	return claim.MaxGrace + 2*time.Millisecond + time.Since(p.started)/1000
}

// sameLength compares a length of time that gets shorter as time goes by.
func (p *player) sameLength(got, want time.Duration) bool {
	return got <= want+p.tolerance() && got >= want-p.drift()
}

// lengths is the error about two lengths of time. On a real clock it leaves out
// what differs from run to run.
func (p *player) lengths(name string, got, want time.Duration) error {
	switch {
	case !p.real:
		return fmt.Errorf("%s %v, want %v", name, got, want)
	case got > want:
		return fmt.Errorf("%s is too long for %v and the time that went by", name, want)
	}
	return fmt.Errorf("%s is too short for %v and the time that went by", name, want)
}
