package redisstore

import (
	"bytes"
	"context"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

func cells(parts ...any) string {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case int:
			b = appendNumber(b, int64(p))
		}
	}
	return string(b)
}

var nonceForTests = [8]byte([]byte("nonce-01"))

// answers are replies that state.lua gives, with now = 1000.
var answers = []string{
	"N",
	cells("C", 2000, 1, 60000, 1000),
	cells("T", 2000, 7, 60000, 1001),
	cells("A", 1500, 1, 60000, 900),
	cells("P", 1001),
	cells("F", 5000),
	cells("D", 5000, "4", 6, "result"),
	cells("D", 5000, "1", 0),
	cells("X", 3, 6, "broken"),
	cells("K", 3),
	"S", "M", "O", "R", "L", "B",
	cells("E", 3, "OOM"),
}

// Whatever stands in a reply, reading it neither panics nor makes up a claim,
// and what it reads is whole.
func FuzzReply(f *testing.F) {
	for _, a := range answers {
		for kind := claim.OpTryClaim; kind <= claim.OpRevive; kind++ {
			f.Add(byte(kind), string(nonceForTests[:])+cells(1000)+a)
		}
	}
	f.Add(byte(1), "")
	f.Add(byte(1), string(nonceForTests[:])+cells(1000)+"C"+strings.Repeat("9", 48))
	f.Add(byte(1), string(nonceForTests[:])+cells(1000)+cells("D", 1, "4", math.MaxInt32))
	key, err := claim.NewKey("", "consumer", "id")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind byte, text string) {
		op := &claim.Op{Kind: claim.OpKind(kind%7 + 1), Key: key, Request: claim.Request{Token: claim.Token{1}, TTL: time.Second}}
		c := landed(text, op)
		c.land(new(unsettled))
		v := op.Verdict
		if op.Err != nil {
			if v.Outcome != 0 || op.Recovered {
				t.Fatalf("error %v with an answer: %+v", op.Err, v)
			}
			return
		}
		if !strings.HasPrefix(text, string(nonceForTests[:])) {
			t.Fatalf("a reply to another call was taken for an answer: %q", text)
		}
		if (op.Kind == claim.OpTryClaim) != v.Outcome.Valid() {
			t.Fatalf("%v answered %v", op.Kind, v.Outcome)
		}
		if v.Outcome == claim.Claimed && (v.Grant.Fence == 0 || v.Grant.Attempt < 1 || v.Grant.Token != op.Request.Token || v.Remaining <= 0) {
			t.Fatalf("claimed with %+v", v)
		}
		if v.Remaining < 0 || v.Attempt < 0 || len(v.Result)+len(v.Reason) > len(text) {
			t.Fatalf("%+v", v)
		}
	})
}

func landed(text string, ops ...*claim.Op) *call {
	f := newFlight()
	for _, op := range ops {
		f.add(names{prefix: "once:"}, op)
	}
	f.seal(false, false)
	c := f.book(context.Background(), 0, len(ops), nonceForTests, false, nil)
	c.cmd.SetVal(text)
	c.stamp.sends.Store(1)
	f.note()
	return c
}

// One answer that cannot be read makes the whole reply suspect.
func TestAReplyIsReadWholeOrNotAtAll(t *testing.T) {
	head := string(nonceForTests[:]) + cells(1000)
	claims := func() []*claim.Op {
		var ops []*claim.Op
		for _, id := range []claim.MessageID{"a", "b"} {
			key, err := claim.NewKey("", "consumer", id)
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: key})
		}
		return ops
	}
	good := cells("C", 2000, 1, 60000, 1000)
	for name, text := range map[string]string{
		"one answer":    head + good,
		"three answers": head + good + good + good,
		"half of one":   head + good + good[:20],
		"no letter":     head + good + "?",
		"no number":     head + good + "C" + strings.Repeat("x", 64),
		"a zero fence":  head + good + cells("C", 2000, 1, 60000, 0),
		"a lease over":  head + good + cells("C", 1000, 1, 60000, 1000),
		"of no claim":   head + good + "O",
		"a huge number": head + good + cells("C", 2000, 1, 60000) + strings.Repeat("9", 16),
	} {
		ops := claims()
		landed(text, ops...).land(new(unsettled))
		for _, op := range ops {
			if sentinel := claim.ErrCorrupt; op.Err == nil || op.Verdict.Outcome != 0 || !strings.Contains(op.Err.Error(), sentinel.Error()) {
				t.Errorf("%s: %+v, error %v; want ErrCorrupt for both", name, op.Verdict, op.Err)
			}
		}
	}
	ops := claims()
	landed(head+good+good, ops...).land(new(unsettled))
	for _, op := range ops {
		if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
			t.Errorf("a whole reply: %+v, error %v", op.Verdict, op.Err)
		}
	}
}

func recordSeeds(key claim.Key) []string {
	id := string(appendID(nil, key))
	token, none := strings.Repeat("t", 16), strings.Repeat("\x00", 16)
	open := cells(2000, 3, 60000, 1000, token, none)
	fresh := cells(2000, 60000, 1000, token)
	return []string{
		"1767323045000000", "1234",
		cells("D", 7, none, "0"), cells("D", 7, token, "6", "result"), cells("D", 7, none, "3"),
		"p" + fresh + id, "q" + fresh + token + id,
		"P" + open + id, "R" + open + id, "X" + open + cells(6, "broken") + id,
		"", "P", "p", "p" + fresh, "q" + fresh + id, "p" + fresh + id + "x", "Q" + open + id, "P" + open, "P" + open + id + "x", "X" + open + cells(99, "broken") + id,
		"-7", " 7", "07", "0", "99999999999999999", "P" + open + "\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	}
}

// Whatever stands under a key, reading it does not panic, and what it reads says
// the same when it is written again.
func FuzzRecord(f *testing.F) {
	key, err := claim.NewKey("namespace", "consumer", "id")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range recordSeeds(key) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		const expires = 5_000_000
		rec, ok := decodeRecord(value, key.Digest(), expires)
		if !ok {
			if !reflect.DeepEqual(rec, claim.Record{}) {
				t.Fatalf("%q is no record and yet %+v", value, rec)
			}
			return
		}
		if rec.State == claim.StateAbsent || rec.State != claim.StateDone && rec.Key != key {
			t.Fatalf("%q is %+v", value, rec)
		}
		again, ok := decodeRecord(encodeRecord(rec, value[0]), key.Digest(), expires)
		if !ok || !reflect.DeepEqual(again, rec) {
			t.Fatalf("%q\n got %+v\nthen %+v", value, rec, again)
		}
	})
}

func TestRecordsOfEveryKindAreRead(t *testing.T) {
	key, err := claim.NewKey("namespace", "consumer", "id")
	if err != nil {
		t.Fatal(err)
	}
	for i, seed := range recordSeeds(key) {
		rec, ok := decodeRecord(seed, key.Digest(), 5_000_000)
		if ok != (i < 10) {
			t.Errorf("%q: read %v", seed, ok)
		}
		if ok && rec.State != claim.StateDone && encodeRecord(rec, seed[0]) != seed {
			t.Errorf("%q is written as %q", seed, encodeRecord(rec, seed[0]))
		}
	}
}

// encodeRecord writes a record as state.lua does, one that is open with a mark.
func encodeRecord(rec claim.Record, mark byte) string {
	if rec.State == claim.StateDone {
		flags := 0
		if rec.Omitted {
			flags |= flagOmitted
		}
		if rec.Recovered {
			flags |= flagRecovered
		}
		if rec.Result != nil {
			flags |= flagResult
		}
		return cells("D", int(rec.Fence), string(rec.Fingerprint[:]), string(rune('0'+flags)), string(rec.Result))
	}
	if mark == 'p' || mark == 'q' {
		s := cells(string(rune(mark)), int(rec.Deadline), int(rec.Retention/time.Microsecond), int(rec.Fence), string(rec.Token[:]))
		if mark == 'q' {
			s += string(rec.Fingerprint[:])
		}
		return s + string(appendID(nil, rec.Key))
	}
	s := cells(string(rune(mark)), int(rec.Deadline), rec.Attempt, int(rec.Retention/time.Microsecond), int(rec.Fence),
		string(rec.Token[:]), string(rec.Fingerprint[:]))
	if rec.State == claim.StateDead {
		s += cells(len(rec.Reason), rec.Reason)
	}
	return s + string(appendID(nil, rec.Key))
}

// A UUID for an id is kept as its bytes. What only looks like one is kept as it is.
func TestIDsAreReadAsTheyCame(t *testing.T) {
	const id = "0123abcd-4567-89ef-0123-456789abcdef"
	for _, c := range []struct {
		id    string
		bytes int
	}{
		{id, 17},
		{strings.ToUpper(id), 37}, {strings.Replace(id, "f", "g", 1), 37}, {id[:35], 36}, {id + "0", 38},
		{strings.ReplaceAll(id, "-", "0"), 37}, {id[:8] + "0" + id[9:], 37}, {"\x000123456789abcdef", 18}, {"\xff" + id[1:], 37},
	} {
		key, err := claim.NewKey("", "c", claim.MessageID(c.id))
		if err != nil {
			t.Fatal(err)
		}
		text := string(appendID(nil, key))
		if len(text) != 3+c.bytes {
			t.Errorf("%q takes %d bytes, want %d", c.id, len(text)-3, c.bytes)
		}
		if got, ok := decodeID(text); !ok || got != key {
			t.Errorf("%q is read as %v, %v", c.id, got, ok)
		}
	}
}

func TestNumbersFitTheirCells(t *testing.T) {
	for _, n := range []int64{0, 1, maxExact - 1, maxExact, int64(claim.MaxRetention / time.Microsecond)} {
		b := appendNumber(nil, n)
		if len(b) != cellBytes {
			t.Errorf("%d takes %d bytes", n, len(b))
		}
		if got, ok := parseCell(string(b)); !ok || got != n {
			t.Errorf("%d is read as %d, %v", n, got, ok)
		}
	}
	for _, s := range []string{"", "                ", "               x", "1 2", "-1", "+1", "0x1", "9999999999999999"} {
		if n, ok := parseCell(s); ok {
			t.Errorf("%q is read as %d", s, n)
		}
	}
	if !bytes.Equal(appendMicros(nil, 1999*time.Nanosecond), appendNumber(nil, 1)) {
		t.Error("a duration is not cut to the microsecond")
	}
}

// What the short script leaves to the other one is in doubt when a copy of the call
// was sent before: that one may have carried it out.
func TestWhatIsAskedAfterACopyIsInDoubt(t *testing.T) {
	for sends, want := range map[int64]again{1: 0, 2: doubtful} {
		key, err := claim.NewKey("", "consumer", "a")
		if err != nil {
			t.Fatal(err)
		}
		op := &claim.Op{Kind: claim.OpMarkDone, Key: key}
		c := landed(string(nonceForTests[:])+cells(1000)+"?", op)
		c.run = doneScript
		c.stamp.sends.Store(sends)
		var u unsettled
		c.land(&u)
		if op.Err != nil || len(u.asked) != 1 || u.asked[0] != op || u.doubt != want {
			t.Errorf("sent %d times: %+v, error %v; want the operation asked for, doubt %d", sends, u, op.Err, want)
		}
	}
}
