package histories

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oncebus/once/claim"
)

// describe returns an operation and its answer on one line. Tokens are secrets,
// even here: two letters tell them apart.
func describe(op *claim.Op) string { return arguments(op) + " → " + answer(op) }

// arguments returns an operation without its answer.
func arguments(op *claim.Op) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v(", op.Kind)
	switch op.Kind {
	case claim.OpTryClaim:
		r := &op.Request
		fmt.Fprintf(&b, "%s, ttl %v", tokenName(r.Token), r.TTL)
		if !r.Fingerprint.IsZero() {
			fmt.Fprintf(&b, ", fingerprint %.2x", r.Fingerprint[:])
		}
		if r.MaxAttempts > 0 {
			fmt.Fprintf(&b, ", at most %d", r.MaxAttempts)
		}
		if r.Takeover == claim.Park {
			b.WriteString(", park")
		}
	case claim.OpForget, claim.OpRevive:
		fmt.Fprintf(&b, "%v, fence %d", op.Seen, op.Grant.Fence)
	default:
		fmt.Fprintf(&b, "%s, fence %d", tokenName(op.Grant.Token), op.Grant.Fence)
	}
	switch op.Kind {
	case claim.OpExtend:
		fmt.Fprintf(&b, ", ttl %v", op.TTL)
	case claim.OpMarkDone:
		fmt.Fprintf(&b, ", result %.20q", op.Completion.Result)
	case claim.OpMarkDead:
		fmt.Fprintf(&b, ", reason %.20q", op.Reason)
	case claim.OpRelease:
		fmt.Fprintf(&b, ", delay %v", op.TTL)
	}
	b.WriteByte(')')
	return b.String()
}

func answer(op *claim.Op) string {
	v := &op.Verdict
	switch {
	case errors.Is(op.Err, claim.ErrUnknown):
		return "unknown"
	case errors.Is(op.Err, claim.ErrUnavailable):
		return "not done"
	case errors.Is(op.Err, claim.ErrLost):
		return "lost"
	case op.Err != nil:
		return "error " + op.Err.Error()
	case op.Recovered:
		return "fine, recovered"
	case op.Kind != claim.OpTryClaim:
		return "fine"
	}
	switch v.Outcome {
	case claim.Claimed:
		text := fmt.Sprintf("claimed, fence %d, attempt %d, for %v", v.Grant.Fence, v.Grant.Attempt, v.Remaining)
		if v.Takeover {
			text += ", a takeover"
		}
		return text
	case claim.Pending:
		return fmt.Sprintf("pending for %v", v.Remaining)
	case claim.Done:
		return fmt.Sprintf("done, result %.20q", v.Result)
	case claim.Dead:
		return fmt.Sprintf("dead, %.40q", v.Reason)
	case claim.Parked:
		return fmt.Sprintf("parked at attempt %d", v.Attempt)
	}
	return v.Outcome.String()
}

func tokenName(t claim.Token) string {
	if t.IsZero() {
		return "no token"
	}
	return fmt.Sprintf("token %02x%02x", t[0], t[1])
}

// String returns the operation on one line, with its times and its client.
func (o *Operation) String() string {
	end := o.Return.Round(time.Microsecond).String()
	if o.Unknown() {
		end = "…"
	}
	got := answer(&o.Op)
	if o.Unknown() {
		got = "unknown"
	}
	text := fmt.Sprintf("%12v %12s  client %d  %s → %s", o.Call.Round(time.Microsecond), end, o.Client, arguments(&o.Op), got)
	if o.Copies > 0 && !o.NotDone() {
		text += fmt.Sprintf(", perhaps sent %d times", o.Copies+1)
	}
	return text
}

// describeStates says in which states a record may be.
func describeStates(set []state) string {
	texts := make([]string, len(set))
	for i := range set {
		texts[i] = set[i].String()
	}
	return strings.Join(texts, "; or ")
}

// String returns what the model knows of a record.
func (s *state) String() string {
	r := &s.record
	if r.state == claim.StateAbsent {
		return "absent"
	}
	fence := fmt.Sprintf("fence %d", r.fence)
	if s.open {
		fence = fmt.Sprintf("fence above %d", s.floor)
	}
	text := fmt.Sprintf("%v, %s", r.state, fence)
	switch r.state {
	case claim.StatePending, claim.StateReleased:
		text += fmt.Sprintf(", %s, attempt %d, until %s", tokenName(r.token), r.attempt, s.lease)
	case claim.StateDead:
		text += fmt.Sprintf(", attempt %d", r.attempt)
	}
	return text + ", kept until " + s.end.String()
}

// String returns the bounds.
func (t timer) String() string {
	if t.to == Never {
		return fmt.Sprintf("%v or later", t.from.Round(time.Microsecond))
	}
	return fmt.Sprintf("%v–%v", t.from.Round(time.Microsecond), t.to.Round(time.Microsecond))
}
