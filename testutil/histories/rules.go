package histories

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oncebus/once/claim"
)

// broken returns the rules that the operations of one key break on their face,
// each with the first operations that break it. The model finds all of these
// too, but cannot say what it is that it found; and these take no search, however
// long the history is.
func broken(ops []Operation) (rules []string) {
	for i := range ops {
		if rule := malformed(&ops[i]); rule != "" {
			return []string{rule}
		}
	}
	for _, find := range []func([]Operation) string{fenceFalls, ownersOverlap, finishedEnds} {
		if rule := find(ops); rule != "" {
			rules = append(rules, rule)
		}
	}
	return rules
}

// malformed returns what is wrong with an answer, whatever the others are.
func malformed(o *Operation) string {
	op, v := &o.Op, &o.Op.Verdict
	known := 0
	for _, sentinel := range []error{claim.ErrLost, claim.ErrUnknown, claim.ErrUnavailable} {
		if errors.Is(op.Err, sentinel) {
			known++
		}
	}
	switch {
	case o.Unknown() && op.Err == nil:
		return "" // no answer yet
	case op.Err != nil && known != 1:
		return fmt.Sprintf("no fault of a network or a server is answered so: %v", o)
	case op.Err != nil && (v.Outcome != 0 || op.Recovered), op.Kind != claim.OpTryClaim && v.Outcome != 0:
		return fmt.Sprintf("I12: an error, or no claim at all, with an answer to a claim: %v", o)
	case op.Kind == claim.OpTryClaim && errors.Is(op.Err, claim.ErrLost):
		return fmt.Sprintf("a claim cannot be lost before it is granted: %v", o)
	case op.Kind == claim.OpTryClaim && op.Err == nil && !v.Outcome.Valid():
		return fmt.Sprintf("I12: an outcome that is not valid: %v", o)
	}
	return ""
}

// grants returns the operations that were answered Claimed.
func grants(ops []Operation) (all []*Operation) {
	for i := range ops {
		if ops[i].Op.Verdict.Outcome == claim.Claimed {
			all = append(all, &ops[i])
		}
	}
	return all
}

// fenceFalls finds grants that break I2. Of two claims of which one was called
// after the other had returned, the later one shows the fence of a later grant,
// or of the same.
func fenceFalls(ops []Operation) string {
	all := grants(ops)
	calls := slices.Clone(all)
	slices.SortStableFunc(calls, func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(all, func(a, b *Operation) int { return cmp.Compare(a.Return, b.Return) })
	owner := map[uint64]*Operation{}
	var highest *Operation // of those that returned before the call
	for _, o := range calls {
		for len(all) > 0 && all[0].Return < o.Call {
			if highest == nil || all[0].Op.Verdict.Grant.Fence > highest.Op.Verdict.Grant.Fence {
				highest = all[0]
			}
			all = all[1:]
		}
		grant := o.Op.Verdict.Grant
		if highest != nil && grant.Fence < highest.Op.Verdict.Grant.Fence {
			return fmt.Sprintf("I2: a fence is below an earlier one:\n\t%v\n\t%v", highest, o)
		}
		if first := owner[grant.Fence]; first != nil && first.Op.Verdict.Grant != grant {
			return fmt.Sprintf("I2: two grants have one fence:\n\t%v\n\t%v", first, o)
		}
		owner[grant.Fence] = o
	}
	return ""
}

// ownersOverlap finds grants that break I1: one that was given out while the
// lease of another ran for certain, and nobody had asked to end that.
func ownersOverlap(ops []Operation) string {
	all := grants(ops)
	for _, first := range all {
		g := first.Op.Verdict.Grant
		// Remaining is the store's own word; the call is before it was given.
		until := first.Call + first.Op.Verdict.Remaining
		until -= slack(first.Op.Verdict.Remaining)
		for _, second := range all {
			if second.Op.Verdict.Grant.Token == g.Token || second.Call <= first.Return || second.Return >= until {
				continue
			}
			if !mayEnd(ops, g.Token, second.Return, until) {
				return fmt.Sprintf("I1: the second claim was granted while the first one's lease ran:\n\t%v\n\t%v", first, second)
			}
		}
	}
	return ""
}

// mayEnd reports whether anybody asked before a moment to end the claims of a
// token, or to have its lease end earlier than until.
func mayEnd(ops []Operation, token claim.Token, before, until time.Duration) bool {
	return slices.ContainsFunc(ops, func(o Operation) bool {
		switch {
		case o.Call >= before || o.NotDone():
			return false
		case o.Op.Kind == claim.OpForget, o.Op.Kind == claim.OpRevive:
			return true
		case o.Op.Kind == claim.OpTryClaim || o.Op.Grant.Token != token:
			return false
		}
		return o.Op.Kind != claim.OpExtend || o.Call+o.Op.TTL-slack(o.Op.TTL) < until
	})
}

// finishedEnds finds answers that break I3 or I4 for a key on which no operator
// laid hands: after a completion was accepted, and before its retention can be
// over, every claim is answered Done, and no other completion is accepted.
func finishedEnds(ops []Operation) string {
	if slices.ContainsFunc(ops, func(o Operation) bool { return o.Op.Kind == claim.OpForget || o.Op.Kind == claim.OpRevive }) {
		return ""
	}
	for i := range ops {
		done := &ops[i]
		if done.Op.Kind != claim.OpMarkDone || done.Op.Err != nil || done.Unknown() {
			continue
		}
		kept := done.Op.Completion.Retention
		until := shortest(ops, done) + kept - slack(kept)
		for j := range ops {
			o := &ops[j]
			if o.Call <= done.Return || o.Return >= until || o.Op.Err != nil {
				continue
			}
			switch {
			case o.Op.Kind == claim.OpMarkDone && !sameOwner(o, done):
				return fmt.Sprintf("I4: two owners finished:\n\t%v\n\t%v", done, o)
			case o.Op.Kind == claim.OpTryClaim && o.Op.Verdict.Outcome != claim.Done && o.Op.Verdict.Outcome != claim.Mismatch:
				return fmt.Sprintf("I3: finished, and then not:\n\t%v\n\t%v", done, o)
			}
		}
	}
	return ""
}

// sameOwner reports whether a done record may take the completions a and b for
// those of one owner.
func sameOwner(a, b *Operation) bool {
	g, h := &a.Op.Grant, &b.Op.Grant
	return g.Fence == h.Fence || g.Token.Stamp() == h.Token.Stamp()
}

// shortest returns the earliest moment at which the retention may have begun
// that an accepted completion confirms: a copy of it that was sent before may
// have begun it.
func shortest(ops []Operation, done *Operation) time.Duration {
	first := done.Call
	for i := range ops {
		o := &ops[i]
		if o.Op.Kind == claim.OpMarkDone && sameOwner(o, done) && !o.NotDone() {
			first = min(first, o.Call)
		}
	}
	return first
}
