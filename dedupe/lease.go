package dedupe

import (
	"context"
	"fmt"
	"math"
	"time"
)

// never is later than any moment.
const never = time.Duration(math.MaxInt64)

// lease is a running handler as the keeper sees it. Its moments are those of the
// keeper's clock. The lock of its shard guards it.
type lease struct {
	claimed   bool         // there is a claim to be extended
	handler   *lazyContext // nil: one that is not to be disturbed
	keepAlive func(context.Context) error
	ackWait   time.Duration
	every     time.Duration // between two extensions

	next     time.Duration // of the next extension
	deadline time.Duration // local end of the lease, margin included; zero: not kept yet
	ackBy    time.Duration // local end of the bus's timer; zero: none
	runUntil time.Duration // end of MaxRun; zero: the handler has returned
	ended    error         // why the lease is no longer kept
	lost     bool          // the store said so: another owner may be running
	flying   bool          // in a batch that is out
	kept     bool          // in the shard's list, at place
	place    int
}

// over returns why the lease cannot be kept any longer at now, or nil.
func (l *lease) over(now time.Duration) error {
	switch {
	case now >= l.deadline:
		return fmt.Errorf("%w: the store was not heard from in time", ErrLeaseLost)
	case l.runUntil != 0 && now >= l.runUntil:
		return ErrMaxRun
	case l.ackBy != 0 && now >= l.ackBy:
		return fmt.Errorf("%w: the bus's redelivery timer could not be extended", ErrLeaseLost)
	}
	return nil
}

// wakeAt returns when the keeper has to look at l next.
func (l *lease) wakeAt() time.Duration {
	t := l.deadline
	if !l.flying {
		t = min(t, l.next)
	}
	if l.runUntil != 0 {
		t = min(t, l.runUntil)
	}
	if l.ackBy != 0 {
		t = min(t, l.ackBy)
	}
	return t
}

// after returns now + d, or never if that is later.
func after(now, d time.Duration) time.Duration {
	if d > never-now {
		return never
	}
	return now + d
}
