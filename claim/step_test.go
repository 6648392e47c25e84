package claim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

const stepNow = Instant(1_784_000_000_000_000)

func stepKey(t testing.TB) Key {
	t.Helper()
	k, err := NewKey("", "consumer", "id")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// arguments returns op without its answer.
func arguments(op Op) Op {
	op.Verdict, op.Recovered, op.Err = Verdict{}, false, nil
	return op
}

// Step is a function: the same record, operation and time give the same answer
// and the same record, leftovers in the answer do not matter, and neither the
// record nor the arguments change.
func TestStepIsPure(t *testing.T) {
	walk(t, 1, 2000, func(rec Record, op Op, now Instant) {
		before := rec
		first, second := op, op
		second.Verdict, second.Recovered, second.Err = Verdict{Outcome: Claimed, Result: []byte("old")}, true, errors.New("old")
		next1, write1 := Step(rec, &first, now)
		next2, write2 := Step(rec, &second, now)
		if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(next1, next2) || write1 != write2 {
			t.Fatalf("%v: two runs differ:\n%+v\n%+v", op.Kind, first, second)
		}
		if !reflect.DeepEqual(arguments(first), arguments(op)) || !reflect.DeepEqual(rec, before) {
			t.Fatalf("%v: the arguments changed", op.Kind)
		}
	})
}

// The invariants of the package documentation, over random walks.
func TestStepInvariants(t *testing.T) {
	for seed := range uint64(10) {
		highest := uint64(0)
		walk(t, seed, 3000, func(rec Record, op Op, now Instant) {
			alive := rec.State != StateAbsent && now < rec.Expires
			next, write := Step(rec, &op, now)
			switch {
			case op.Err != nil && (write || op.Verdict.Outcome != 0):
				t.Fatalf("%v: error %v with an answer or a write", op.Kind, op.Err)
			case op.Err != nil && !errors.Is(op.Err, ErrLost):
				t.Fatalf("%v: error %v", op.Kind, op.Err)
			case op.Err == nil && op.Kind == OpTryClaim && !op.Verdict.Outcome.Valid():
				t.Fatalf("TryClaim: %v without an error", op.Verdict.Outcome)
			}
			if write && next.State != StateAbsent {
				checkRecord(t, &op, &next, now)
			}
			operator := op.Kind == OpForget || op.Kind == OpRevive
			if final := rec.State == StateDone || rec.State == StateDead; alive && final && write && !operator {
				t.Fatalf("%v changed a record that is %v", op.Kind, rec.State)
			}
			if op.Verdict.Outcome == Claimed && write {
				if alive && op.Verdict.Grant.Fence <= rec.Fence {
					t.Fatalf("fence %d after %d", op.Verdict.Grant.Fence, rec.Fence)
				}
				highest = max(highest, op.Verdict.Grant.Fence)
			}
			stamped := rec.State == StateDone && rec.Fence == op.Grant.Token.Stamp()
			if alive && op.Err == nil && !operator && op.Kind != OpTryClaim && op.Grant.Fence != rec.Fence && op.Grant.Fence != 0 && !stamped {
				t.Fatalf("%v with fence %d was accepted by a record with %d", op.Kind, op.Grant.Fence, rec.Fence)
			}
		})
		if highest == 0 {
			t.Error("the walk never claimed")
		}
	}
}

// Rule 2: an operation that is sent again at once is answered the same, or
// Stale, or ErrLost, and what it leaves behind is the same.
func TestStepRepeated(t *testing.T) {
	walk(t, 3, 5000, func(rec Record, op Op, now Instant) {
		first, again := op, op
		next, write := Step(rec, &first, now)
		if !write {
			return
		}
		next2, write2 := Step(next, &again, now)
		after := next
		if write2 {
			after = next2
		}
		if !reflect.DeepEqual(after, next) {
			t.Fatalf("%v sent again changed\n%+v to\n%+v", op.Kind, next, after)
		}
		want := first.Verdict
		want.Takeover = false // it went with the first reply
		switch {
		case errors.Is(again.Err, first.Err) && again.Recovered == first.Recovered && reflect.DeepEqual(again.Verdict, want):
		case again.Verdict.Outcome == Stale, errors.Is(again.Err, ErrLost):
		default:
			t.Fatalf("%v sent again: %+v %v, first %+v %v", op.Kind, again.Verdict, again.Err, first.Verdict, first.Err)
		}
	})
}

func checkRecord(t *testing.T, op *Op, rec *Record, now Instant) {
	t.Helper()
	switch {
	case rec.Expires < now || rec.Expires > now.Add(MaxTTL+MaxDelay+MaxRetention):
		t.Fatalf("%v: the record expires %v from now", op.Kind, rec.Expires.Sub(now))
	case rec.State == StateDone && (!rec.Key.IsZero() || !rec.Token.IsZero() || rec.Attempt != 0 || rec.Deadline != 0):
		t.Fatalf("%v: a done record keeps more than it needs: %+v", op.Kind, rec)
	case rec.State != StateDone && rec.Key != op.Key:
		t.Fatalf("%v: a record that is %v lost its key", op.Kind, rec.State)
	case (rec.State == StatePending || rec.State == StateReleased) && rec.Expires != rec.Deadline.Add(rec.Retention):
		t.Fatalf("%v: a record that is %v expires at %d, want %d", op.Kind, rec.State, rec.Expires, rec.Deadline.Add(rec.Retention))
	case rec.Fence > MaxFence:
		t.Fatalf("%v: fence %d", op.Kind, rec.Fence)
	}
}

// walk takes one key through random operations and calls see with each, before
// it is applied.
func walk(t *testing.T, seed uint64, steps int, see func(rec Record, op Op, now Instant)) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	key, now := stepKey(t), stepNow
	var rec Record
	for range steps {
		now = now.Add(time.Duration(rng.IntN(800)) * time.Millisecond)
		op := randomStep(rng, key, &rec)
		if err := op.Validate(); err != nil {
			t.Fatal(err)
		}
		see(rec, op, now)
		if next, write := Step(rec, &op, now); write {
			rec = next
		}
	}
}

func randomStep(rng *rand.Rand, key Key, rec *Record) Op {
	tokens := []Token{{1}, {2}, {3}}
	seconds := func(n int) time.Duration { return time.Duration(1+rng.IntN(n)) * time.Second }
	op := Op{Kind: OpTryClaim + OpKind(rng.IntN(7)), Key: key, TTL: seconds(3), Reason: "reason"}
	if rng.IntN(3) == 0 {
		op.Kind = OpTryClaim
	}
	op.Request = Request{Token: tokens[rng.IntN(3)], TTL: time.Second, Retention: seconds(5),
		MaxAttempts: rng.IntN(4), Takeover: Takeover(rng.IntN(2)), Fingerprint: Fingerprint{byte(rng.IntN(3) / 2)}}
	op.Grant, op.Seen = rec.grant(), rec.State
	if rng.IntN(4) == 0 {
		op.Seen = State(rng.IntN(5))
	}
	if op.Grant.Token.IsZero() || rng.IntN(4) == 0 {
		op.Grant.Token = tokens[rng.IntN(3)]
	}
	if op.Grant.Fence == 0 || rng.IntN(6) == 0 {
		op.Grant.Fence = max(2, rec.Fence) - 1 + uint64(rng.IntN(3))
	}
	if op.Kind == OpRelease && rng.IntN(3) == 0 {
		op.Grant.Fence = 0
	}
	op.Completion = Completion{Retention: seconds(5), Omitted: rng.IntN(2) == 0}
	return op
}

// The table's lines stand in testutil/claimtest; these are the edges of time,
// to the microsecond, that only a clock which stands still can show.
func TestStepAtTheEdges(t *testing.T) {
	key := stepKey(t)
	claimed := func(ttl, retention time.Duration) Record {
		op := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: Token{1}, TTL: ttl, Retention: retention}}
		rec, _ := Step(Record{}, &op, stepNow)
		return rec
	}
	rec := claimed(time.Second, time.Hour)
	for _, c := range []struct {
		at        time.Duration
		want      Outcome
		remaining time.Duration
	}{
		{time.Second - time.Microsecond, Pending, time.Microsecond},
		{time.Second, Claimed, time.Minute},
		{time.Second + time.Hour - time.Microsecond, Claimed, time.Minute},
		{time.Second + time.Hour, Claimed, time.Minute},
	} {
		op := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: Token{2}, TTL: time.Minute, Retention: time.Hour}}
		Step(rec, &op, stepNow.Add(c.at))
		v := op.Verdict
		if v.Outcome != c.want || v.Remaining != c.remaining {
			t.Errorf("after %v: %v with %v, want %v with %v", c.at, v.Outcome, v.Remaining, c.want, c.remaining)
		}
		if v.Outcome == Claimed && v.Takeover != (c.at < time.Second+time.Hour) {
			t.Errorf("after %v: takeover %v", c.at, v.Takeover)
		}
	}
}

func TestStepClockBackwards(t *testing.T) {
	key := stepKey(t)
	op := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: Token{1}, TTL: time.Second, Retention: time.Hour}}
	rec, _ := Step(Record{}, &op, stepNow)
	fence := op.Verdict.Grant.Fence
	op = Op{Kind: OpRelease, Key: key, Grant: op.Verdict.Grant}
	rec, _ = Step(rec, &op, stepNow)
	// The clock steps back by an hour; the fence does not.
	back := stepNow.Add(-time.Hour)
	op = Op{Kind: OpTryClaim, Key: key, Request: Request{Token: Token{2}, TTL: time.Second, Retention: time.Hour}}
	if v := op.Verdict; v.Outcome != 0 {
		t.Fatal("not a fresh operation")
	}
	Step(rec, &op, back)
	if op.Verdict.Outcome != Pending || op.Verdict.Remaining != time.Hour {
		t.Fatalf("%v with %v, want pending until the clock is where it was", op.Verdict.Outcome, op.Verdict.Remaining)
	}
	rec.Deadline = back
	Step(rec, &op, back)
	if op.Verdict.Outcome != Claimed || op.Verdict.Grant.Fence != fence+1 {
		t.Fatalf("%v with fence %d, want claimed with %d", op.Verdict.Outcome, op.Verdict.Grant.Fence, fence+1)
	}
	// A store whose clock says 1969 has fences all the same.
	op = Op{Kind: OpTryClaim, Key: key, Request: op.Request}
	Step(Record{}, &op, -1)
	if op.Verdict.Grant.Fence != 1 {
		t.Fatalf("fence %d before the epoch, want 1", op.Verdict.Grant.Fence)
	}
}

// A completion with nothing to keep leaves a stamp, by which its owner is known,
// and an operator can have the key run again with a fence that does not fall.
func TestStepStamps(t *testing.T) {
	key := stepKey(t)
	claimed := func() (Record, Grant) {
		op := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: Token{1}, TTL: time.Second, Retention: time.Hour}}
		rec, _ := Step(Record{}, &op, stepNow)
		return rec, op.Verdict.Grant
	}
	for _, c := range []struct {
		name       string
		completion Completion
		at         Instant
		stamped    bool
	}{
		{"nothing to keep", Completion{}, stepNow, true},
		{"a result", Completion{Result: []byte{}}, stepNow, false},
		{"a result that was omitted", Completion{Omitted: true}, stepNow, false},
		{"a result that is too large", Completion{Result: make([]byte, MaxResultBytes+1)}, stepNow, false},
		{"a clock that was set back", Completion{}, stepNow - 1, false},
		{"a clock before the epoch", Completion{}, -5, false},
	} {
		rec, g := claimed()
		c.completion.Retention = time.Hour
		op := Op{Kind: OpMarkDone, Key: key, Grant: g, Completion: c.completion}
		rec, _ = Step(rec, &op, c.at)
		want := g.Fence
		if c.stamped {
			want = g.Token.Stamp()
		}
		if rec.State != StateDone || rec.Fence != want {
			t.Errorf("%s: %v with fence %d, want done with %d", c.name, rec.State, rec.Fence, want)
		}
		if _, write := Step(rec, &op, c.at); write || op.Err != nil || op.Recovered {
			t.Errorf("%s, repeated: write %v, error %v, recovered %v", c.name, write, op.Err, op.Recovered)
		}
		other := op
		other.Grant = Grant{Token: Token{2}, Fence: g.Fence + 1, Attempt: 2}
		if _, write := Step(rec, &other, c.at); write || !errors.Is(other.Err, ErrLost) {
			t.Errorf("%s, by another: write %v, error %v", c.name, write, other.Err)
		}
		revive := Op{Kind: OpRevive, Key: key, Grant: Grant{Fence: rec.Fence}, Seen: StateDone}
		revived, _ := Step(rec, &revive, c.at)
		if revived.State != StateReleased || revived.Fence < g.Fence {
			t.Errorf("%s, revived: %v with fence %d after %d", c.name, revived.State, revived.Fence, g.Fence)
		}
		if _, write := Step(revived, &revive, c.at+7); write || revive.Err != nil {
			t.Errorf("%s, revived again: write %v, error %v", c.name, write, revive.Err)
		}
	}
	// Records of done keys with a whole fence, as they were written before.
	rec := Record{State: StateDone, Fence: 1_784_000_000_000_000, Expires: stepNow.Add(time.Hour)}
	op := Op{Kind: OpMarkDone, Key: key, Grant: Grant{Token: Token{1}, Fence: rec.Fence, Attempt: 1}, Completion: Completion{Retention: time.Hour}}
	if _, write := Step(rec, &op, stepNow); write || op.Err != nil {
		t.Errorf("a record with its fence: write %v, error %v", write, op.Err)
	}
}

func TestStampsAreEven(t *testing.T) {
	seen := map[uint64]int{}
	for i := range 20 * stamps {
		var token Token
		binary.BigEndian.PutUint32(token[:], uint32(i)*2654435761)
		seen[token.Stamp()]++
	}
	for stamp, n := range seen {
		if stamp < 1000 || stamp > 9999 || n > 60 {
			t.Errorf("%d tokens of %d have the stamp %d", n, 20*stamps, stamp)
		}
	}
	if len(seen) < stamps-5 {
		t.Errorf("%d stamps in use, want %d", len(seen), stamps)
	}
}

func TestStepTakesFenceOfForgottenRecord(t *testing.T) {
	op := Op{Kind: OpTryClaim, Key: stepKey(t), Request: Request{Token: Token{1}, TTL: time.Second, Retention: time.Second}}
	Step(Record{Fence: uint64(stepNow) + 5}, &op, stepNow)
	if want := uint64(stepNow) + 6; op.Verdict.Grant.Fence != want || op.Verdict.Grant.Attempt != 1 {
		t.Errorf("grant %+v, want a first attempt with fence %d", op.Verdict.Grant, want)
	}
}

func TestStepRefusesUnknownOperation(t *testing.T) {
	op := Op{Kind: OpRevive + 1, Key: stepKey(t), Verdict: Verdict{Outcome: Claimed}}
	if _, write := Step(Record{}, &op, stepNow); write || !errors.Is(op.Err, ErrInvalid) || op.Verdict.Outcome != 0 {
		t.Errorf("write %v, error %v, outcome %v", write, op.Err, op.Verdict.Outcome)
	}
}

func TestInstants(t *testing.T) {
	var i Instant = 1_000_000
	if got := i.Add(1500 * time.Nanosecond); got != 1_000_001 {
		t.Errorf("Add: %d, want whole microseconds", got)
	}
	if got := i.Add(time.Second).Sub(i); got != time.Second {
		t.Errorf("Sub: %v, want 1s", got)
	}
}

func ExampleStep() {
	key, err := NewKey("shop", "billing", "order-4711")
	if err != nil {
		panic(err)
	}
	now := Instant(1_784_000_000_000_000)
	first := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: NewToken(), TTL: time.Minute, Retention: time.Hour}}
	record, _ := Step(Record{}, &first, now)
	fmt.Println(first.Verdict.Outcome, record.State)

	second := Op{Kind: OpTryClaim, Key: key, Request: Request{Token: NewToken(), TTL: time.Minute, Retention: time.Hour}}
	_, write := Step(record, &second, now.Add(20*time.Second))
	fmt.Println(second.Verdict.Outcome, second.Verdict.Remaining, write)
	// Output:
	// claimed pending
	// pending 40s false
}
