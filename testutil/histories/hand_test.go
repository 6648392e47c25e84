package histories_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/histories"
)

const ms = time.Millisecond

// The first grant of a key written by hand, and the one after it.
const fence1, fence2 = 1000, 2000

func handKey(t testing.TB) claim.Key {
	t.Helper()
	key, err := claim.NewKey("", "consumer", "message")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// said is an operation with its answer, from call to end in milliseconds. An end
// of zero: unknown.
type said struct {
	call, end int
	op        claim.Op
	copies    int
}

func try(token byte, ttl time.Duration) claim.Op {
	return claim.Op{Kind: claim.OpTryClaim, Request: claim.Request{Token: claim.Token{token}, TTL: ttl, Retention: 24 * time.Hour}}
}

func grant(token byte, fence uint64) claim.Grant {
	return claim.Grant{Token: claim.Token{token}, Fence: fence, Attempt: 1}
}

func claimed(token byte, ttl time.Duration, fence uint64, attempt int) claim.Op {
	op := try(token, ttl)
	op.Verdict = claim.Verdict{Outcome: claim.Claimed, Remaining: ttl,
		Grant: claim.Grant{Token: claim.Token{token}, Fence: fence, Attempt: attempt}}
	return op
}

func takeover(token byte, ttl time.Duration, fence uint64, attempt int) claim.Op {
	op := claimed(token, ttl, fence, attempt)
	op.Verdict.Takeover = true
	return op
}

func pending(token byte, remaining time.Duration) claim.Op {
	op := try(token, time.Hour)
	op.Verdict = claim.Verdict{Outcome: claim.Pending, Remaining: remaining}
	return op
}

func finished(token byte, result string) claim.Op {
	op := try(token, time.Hour)
	op.Verdict = claim.Verdict{Outcome: claim.Done, Remaining: time.Hour, Result: []byte(result)}
	return op
}

func extend(token byte, fence uint64, ttl time.Duration) claim.Op {
	return claim.Op{Kind: claim.OpExtend, Grant: grant(token, fence), TTL: ttl}
}

func release(token byte, fence uint64) claim.Op {
	return claim.Op{Kind: claim.OpRelease, Grant: grant(token, fence)}
}

func done(token byte, fence uint64, result string) claim.Op {
	return claim.Op{Kind: claim.OpMarkDone, Grant: grant(token, fence), Completion: claim.Completion{Retention: time.Hour, Result: []byte(result)}}
}

func forget(fence uint64, seen claim.State) claim.Op {
	return claim.Op{Kind: claim.OpForget, Grant: claim.Grant{Fence: fence}, Seen: seen}
}

func recovered(op claim.Op) claim.Op {
	op.Recovered = true
	return op
}

func failed(op claim.Op, err error) claim.Op {
	op.Fail(err)
	return op
}

func notDone(op claim.Op) claim.Op { return failed(op, claim.Unavailable(nil)) }

// Histories written by hand, one for each thing that the model knows. Those that
// are wrong differ from a right one in as little as can be.
var byHand = []struct {
	name string
	fine bool
	said []said
}{
	{"one claim of two that overlap", true, []said{
		{0, 10, claimed(1, time.Hour, fence1, 1), 0}, {0, 9, pending(2, time.Hour), 0}}},
	{"both claims of two that overlap", false, []said{
		{0, 10, claimed(1, time.Hour, fence1, 1), 0}, {0, 9, claimed(2, time.Hour, fence2, 1), 0}}},
	{"pending before anybody claimed", false, []said{
		{0, 1, pending(2, time.Hour), 0}, {2, 3, claimed(1, time.Hour, fence1, 1), 0}}},
	{"a claim without an answer explains pending", true, []said{
		{0, 0, try(1, time.Hour), 0}, {5, 6, pending(2, time.Hour), 0}}},
	{"a claim that was not done explains nothing", false, []said{
		{0, 1, notDone(try(1, time.Hour)), 0}, {5, 6, pending(2, time.Hour), 0}}},
	{"a claim without an answer never landed", true, []said{
		{0, 0, try(1, time.Hour), 0}, {5, 6, claimed(2, time.Hour, fence1, 1), 0}}},
	{"a claim without an answer is repeated", true, []said{
		{0, 0, try(1, time.Hour), 0}, {5, 6, claimed(1, time.Hour, fence1, 1), 0}}},
	{"a claim without an answer is repeated and pending about itself", false, []said{
		{0, 0, try(1, time.Hour), 0}, {5, 6, pending(1, time.Hour), 0}}},

	{"a release without an answer lands late", true, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 0, release(1, fence1), 0},
		{3, 4, pending(2, time.Hour), 0}, {5, 6, claimed(3, time.Hour, fence2, 2), 0}}},
	{"a release without an answer lands twice", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 0, release(1, fence1), 0},
		{3, 4, claimed(2, time.Hour, fence2, 2), 0}, {5, 6, claimed(3, time.Hour, fence2+1, 3), 0}}},
	{"a release that was not done", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, notDone(release(1, fence1)), 0},
		{5, 6, claimed(3, time.Hour, fence2, 2), 0}}},
	{"a copy of a claim lands after its release by another claim's", true, []said{
		{0, 50, claimed(1, time.Hour, fence1, 1), 1}, {51, 52, release(1, fence1), 0},
		{53, 54, claimed(2, time.Hour, fence2, 2), 0}, {55, 56, release(2, fence2), 0},
		{57, 58, pending(3, time.Hour), 0}}},
	{"no copy was sent", false, []said{
		{0, 50, claimed(1, time.Hour, fence1, 1), 0}, {51, 52, release(1, fence1), 0},
		{53, 54, claimed(2, time.Hour, fence2, 2), 0}, {55, 56, release(2, fence2), 0},
		{57, 58, pending(3, time.Hour), 0}}},

	{"taken over after the lease", true, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {25, 26, takeover(2, time.Hour, fence2, 2), 0}}},
	{"taken over within the lease", false, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {15, 16, takeover(2, time.Hour, fence2, 2), 0}}},
	{"pending after the lease", false, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {40, 41, pending(2, 5*ms), 0}}},
	{"pending after the lease, with an extension that has no answer", true, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {10, 0, extend(1, fence1, 35*ms), 0}, {40, 41, pending(2, 5*ms), 0}}},
	{"pending after the lease, with an extension that was not done", false, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {10, 11, notDone(extend(1, fence1, 35*ms)), 0}, {40, 41, pending(2, 5*ms), 0}}},
	{"pending for longer than the lease", false, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {10, 11, pending(2, 50*ms), 0}}},
	{"a claim without an answer holds no longer than its lease", false, []said{
		{0, 0, try(1, 20*ms), 0}, {5, 6, pending(2, 10*ms), 0}, {40, 41, pending(3, 10*ms), 0}}},
	{"committed late, nobody came", true, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {40, 41, done(1, fence1, "r"), 0}, {42, 43, finished(2, "r"), 0}}},
	{"committed late, after a takeover", false, []said{
		{0, 1, claimed(1, 20*ms, fence1, 1), 0}, {25, 26, takeover(2, time.Hour, fence2, 2), 0}, {40, 41, done(1, fence1, "r"), 0}}},

	{"a fence that nobody was told", true, []said{
		{0, 0, try(1, 20*ms), 0}, {40, 41, takeover(2, time.Hour, fence2, 2), 0}}},
	{"a fence that was guessed and is right", true, []said{
		{0, 0, try(1, 20*ms), 0}, {5, 6, extend(1, fence1, 20*ms), 0}, {60, 61, takeover(2, time.Hour, fence1+1, 2), 0}}},
	{"a fence that was guessed and is right, and the next one is not above it", false, []said{
		{0, 0, try(1, 20*ms), 0}, {5, 6, extend(1, fence1, 20*ms), 0}, {60, 61, takeover(2, time.Hour, fence1, 2), 0}}},
	{"the fence falls", false, []said{
		{0, 1, claimed(1, 20*ms, fence2, 1), 0}, {40, 41, takeover(2, time.Hour, fence1, 2), 0}}},
	{"the fence rises after Forget", true, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, forget(fence1, claim.StatePending), 0}, {4, 5, claimed(2, time.Hour, fence2, 1), 0}}},
	{"the fence falls after Forget", false, []said{
		{0, 1, claimed(1, time.Hour, fence2, 1), 0}, {2, 3, forget(fence2, claim.StatePending), 0}, {4, 5, claimed(2, time.Hour, fence1, 1), 0}}},

	{"two owners finish", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, done(1, fence1, "r"), 0}, {4, 5, done(2, fence2, "s"), 0}}},
	{"done, and then not", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, done(1, fence1, "r"), 0}, {4, 5, claimed(2, time.Hour, fence2, 1), 0}}},
	{"done, and then an operator who had no answer", true, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, done(1, fence1, "r"), 0},
		{4, 0, forget(fence1, claim.StateDone), 0}, {5, 6, claimed(2, time.Hour, fence2, 1), 0}}},
	{"another's result", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, done(1, fence1, "r"), 0}, {4, 5, finished(2, "s"), 0}}},
	{"a completion that was not done", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, notDone(done(1, fence1, "r")), 0}, {4, 5, finished(2, "r"), 0}}},
	{"recovered, although nothing was lost", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, recovered(done(1, fence1, "r")), 0}}},
	{"recovered, since there was nothing", true, []said{
		{2, 3, recovered(done(1, fence1, "r")), 0}, {4, 5, finished(2, "r"), 0}}},
	{"lost, although it is mine", false, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 3, failed(extend(1, fence1, time.Hour), claim.ErrLost), 0}}},

	{"an error that no fault explains", false, []said{
		{0, 1, failed(try(1, time.Hour), claim.Corrupt("reply")), 0}}},
	{"an answer that says nothing", false, []said{{0, 1, try(1, time.Hour), 0}}},
}

func TestHistoriesByHand(t *testing.T) {
	for _, c := range byHand {
		t.Run(c.name, func(t *testing.T) {
			h := byHandHistory(t, c.said)
			violations := histories.Verify(h).Violations
			if fine := len(violations) == 0; fine != c.fine {
				t.Errorf("fine: %v, want %v %v", fine, c.fine, violations)
			}
			if c.fine && histories.WeakerRefutes(h) {
				t.Error("the weaker model does not explain what the other explains")
			}
		})
	}
}

func byHandHistory(t *testing.T, all []said) *histories.History {
	key := handKey(t)
	h := &histories.History{}
	for i, s := range all {
		o := histories.Operation{Client: i, Op: s.op, Call: time.Duration(s.call) * ms, Return: time.Duration(s.end) * ms, Copies: s.copies}
		o.Op.Key = key
		if o.Return == 0 {
			o.Return = histories.Never
		}
		h.Operations = append(h.Operations, o)
	}
	return h
}

// The rules that are broken on their face are named.
func TestRulesAreNamed(t *testing.T) {
	for name, rule := range map[string]string{
		"the fence falls": "I2", "taken over within the lease": "I1", "two owners finish": "I4", "done, and then not": "I3",
		"an answer that says nothing": "I12", "both claims of two that overlap": "",
	} {
		for _, c := range byHand {
			if c.name != name {
				continue
			}
			v := histories.Verify(byHandHistory(t, c.said)).Violations[0]
			if got := strings.Join(v.Rules, "\n"); !strings.HasPrefix(got, rule) || rule == "" && got != "" {
				t.Errorf("%s: rules %q, want %s", name, got, rule)
			}
		}
	}
}

// A store that commits reads its clock before others see what it did: the
// extension counts from its call, although another client did not see it yet.
func TestEarlyClock(t *testing.T) {
	for _, early := range []bool{false, true} {
		h := byHandHistory(t, []said{
			said{call: 0, end: 10, op: claimed(1, 100*ms, fence1, 1)},
			said{call: 20, end: 90, op: extend(1, fence1, 100*ms)},
			said{call: 70, end: 72, op: pending(2, 35*ms)},
			said{call: 95, end: 96, op: pending(3, 26*ms)},
		})
		for i := range h.Operations {
			h.Operations[i].EarlyClock = early
		}
		if r := histories.Verify(h); (len(r.Violations) == 0) != early {
			t.Errorf("early clock %v: %v", early, r.Violations)
		}
	}
	// It excuses no lease that ended before it began.
	h := byHandHistory(t, []said{
		said{call: 0, end: 10, op: claimed(1, 100*ms, fence1, 1)},
		said{call: 50, end: 60, op: takeover(2, 100*ms, fence2, 2)},
	})
	for i := range h.Operations {
		h.Operations[i].EarlyClock = true
	}
	if r := histories.Verify(h); len(r.Violations) != 1 {
		t.Errorf("a takeover of a lease that runs: %v", r.Violations)
	}
}
