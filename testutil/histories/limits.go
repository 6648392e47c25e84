package histories

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/oncebus/once/claim"
)

// limits say how many attempts a key may have had by an operation, from its
// answer and from answers that came later: attempts only rise, but for a few
// operations. States beyond the limit lead nowhere; without limits the model
// would follow every order in which unknown claims may have taken a key over
// from one another.
type limits struct {
	// off says that attempts may have begun again from zero: by an operator's
	// hand, or because a record was forgotten.
	off   bool
	given int    // attempts that releases without a fence may have given back
	later []mark // by time; attempts falling from the last to the first
}

// mark is the least number of attempts in the answers to operations that were
// called at or after a moment.
type mark struct {
	call     time.Duration
	attempts int
}

// limitsOf returns the limits of a key.
func limitsOf(ops []Operation) (l limits) {
	last, kept := time.Duration(0), claim.TombstoneTTL
	for i := range ops {
		o := &ops[i]
		if !o.Unknown() {
			last = max(last, o.Return)
		}
		if o.NotDone() || errors.Is(o.Op.Err, claim.ErrLost) && o.Copies == 0 {
			continue // it changed nothing
		}
		switch o.Op.Kind {
		case claim.OpForget, claim.OpRevive:
			l.off = true
		case claim.OpRelease:
			if o.Op.Grant.Fence == 0 {
				l.given += 1 + o.Copies
			}
		case claim.OpTryClaim:
			kept = min(kept, o.Op.Request.Retention)
		case claim.OpMarkDone:
			kept = min(kept, o.Op.Completion.Retention)
		}
		if a := attempts(o); a > 0 {
			l.later = append(l.later, mark{o.Call, a})
		}
	}
	l.off = l.off || kept-slack(kept) <= last
	slices.SortFunc(l.later, func(a, b mark) int { return cmp.Compare(a.call, b.call) })
	for i := len(l.later) - 2; i >= 0; i-- {
		l.later[i].attempts = min(l.later[i].attempts, l.later[i+1].attempts)
	}
	return l
}

// attempts returns how many attempts the record had after o at least, as its
// answer says, or zero.
func attempts(o *Operation) int {
	v := &o.Op.Verdict
	switch v.Outcome {
	case claim.Claimed:
		return v.Grant.Attempt
	case claim.Dead, claim.Parked:
		return v.Attempt
	}
	return 0
}

// at returns how many attempts a record may have before o takes effect.
func (l *limits) at(o *Operation) int {
	most := math.MaxInt
	if l.off {
		return most
	}
	if a := attempts(o); a > 0 {
		most = a
	}
	i, _ := slices.BinarySearchFunc(l.later, o.Return+1, func(m mark, end time.Duration) int { return cmp.Compare(m.call, end) })
	if i < len(l.later) {
		most = min(most, l.later[i].attempts)
	}
	if most != math.MaxInt {
		most += l.given
	}
	return most
}
