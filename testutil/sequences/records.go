package sequences

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/oncebus/once/claim"
)

// compareRecords compares the records of a batch's keys, where the store shows
// records.
func (p *player) compareRecords(batch []*claim.Op) error {
	if p.inspector == nil {
		return nil
	}
	for _, op := range batch {
		h := p.heldOf(op.Key)
		if p.frozen(h) {
			continue
		}
		if err := p.compareRecord(h); err != nil {
			return fmt.Errorf("then the record of key %c: %w", h.name, err)
		}
	}
	return nil
}

func (p *player) compareRecord(h *held) error {
	entry, err := p.inspector.Get(p.ctx, h.key)
	if err != nil {
		return fmt.Errorf("it could not be read: %w", err)
	}
	want := h.record
	if p.now >= want.Expires {
		want = claim.Record{}
	}
	if entry.Digest != h.key.Digest() {
		return errors.New("the digest is another key's")
	}
	if h.mayHave(&want, entry.Fence) {
		h.record.Fence, want.Fence = entry.Fence, entry.Fence
	}
	if err := sameRecord(&entry.Record, &want); err != nil {
		return err
	}
	return p.sameTimes(&entry, &want)
}

// mayHave reports whether a store may show a fence with the record want, although
// the reference has another: for a done record the fence or the stamp of its
// owner, and for one that was revived from that the time, which on a real clock
// is later than the reference's.
func (h *held) mayHave(want *claim.Record, fence uint64) bool {
	switch want.State {
	case claim.StateDone:
		return fence == h.finisher.Fence || fence == h.finisher.Token.Stamp()
	case claim.StateReleased:
		return want.Token.IsZero() && fence >= h.top
	}
	return false
}

// sameRecord compares all but the times.
func sameRecord(got, want *claim.Record) error {
	switch {
	case got.State != want.State:
		return fmt.Errorf("%v, want %v", got.State, want.State)
	case got.Key != want.Key:
		return fmt.Errorf("the key is not that of a record that is %v", want.State)
	case got.Token != want.Token:
		return errors.New("the token is another")
	case got.Fence != want.Fence:
		return errors.New("the fence is another")
	case got.Attempt != want.Attempt:
		return fmt.Errorf("attempt %d, want %d", got.Attempt, want.Attempt)
	case got.Fingerprint != want.Fingerprint:
		return errors.New("the fingerprint is another")
	case !bytes.Equal(got.Result, want.Result):
		return fmt.Errorf("a result of %d bytes, want %d", len(got.Result), len(want.Result))
	case got.Omitted != want.Omitted:
		return fmt.Errorf("omitted is %v, want %v", got.Omitted, want.Omitted)
	case got.Recovered != want.Recovered:
		return fmt.Errorf("recovered is %v, want %v", got.Recovered, want.Recovered)
	case got.Reason != want.Reason:
		return fmt.Errorf("reason %.80q, want %.80q", got.Reason, want.Reason)
	}
	return nil
}

// sameTimes compares when the record ends, and of one that can be claimed again
// the end of its lease or delay and the retention behind it.
func (p *player) sameTimes(entry *claim.Entry, want *claim.Record) error {
	if want.State == claim.StateAbsent {
		return nil
	}
	type length struct {
		name      string
		got, want claim.Instant
	}
	now := entry.Now
	if !p.real && now != p.now {
		return fmt.Errorf("the store's time is off by %v", now.Sub(p.now))
	}
	all := []length{{"the time to the end of the record", entry.Expires, want.Expires}}
	if want.State == claim.StatePending || want.State == claim.StateReleased {
		all = append(all, length{"the time to the deadline", entry.Deadline, want.Deadline})
		if got := entry.Retention; !p.sameLength(got, want.Retention) {
			return p.lengths("retention", got, want.Retention)
		}
	}
	for _, l := range all {
		if got, want := l.got.Sub(now), l.want.Sub(p.now); !p.sameLength(got, want) {
			return p.lengths(l.name, got, want)
		}
	}
	return nil
}
