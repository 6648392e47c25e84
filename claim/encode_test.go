package claim

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func encodedRecords(t testing.TB) []Record {
	t.Helper()
	k, err := NewKey("shop", "billing", "order-17")
	if err != nil {
		t.Fatal(err)
	}
	print := FingerprintOf([]byte("payload"))
	open := Record{Key: k, Token: Token{1, 2, 3}, Fence: MaxFence, Attempt: 3, Deadline: 1_771_000_000_123_456,
		Retention: time.Hour, Expires: 1_771_003_600_123_456}
	with := func(state State, change func(*Record)) Record {
		r := open
		r.State = state
		if change != nil {
			change(&r)
		}
		return r
	}
	return []Record{
		{Fence: 7, Expires: 9},
		with(StatePending, nil),
		with(StatePending, func(r *Record) { r.Fingerprint = print; r.Deadline = -5 }),
		with(StateReleased, func(r *Record) { r.Attempt = 0; r.Fence = 0 }),
		with(StateDead, func(r *Record) { r.Reason = "broken" }),
		with(StateDead, func(r *Record) { r.Reason = strings.Repeat("x", MaxReasonBytes); r.Fingerprint = print }),
		{State: StateDone, Fence: 42, Expires: 43},
		{State: StateDone, Fence: 42, Expires: 43, Omitted: true, Recovered: true, Fingerprint: print},
		{State: StateDone, Fence: 42, Expires: 43, Result: []byte("invoice")},
		{State: StateDone, Fence: 42, Expires: 43, Result: []byte{}},
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	k, _ := NewKey("shop", "billing", "order-17")
	for i, rec := range encodedRecords(t) {
		for _, base := range []Instant{0, 1_771_000_000_000_000} {
			b := AppendRecord([]byte("before"), &rec, base)[len("before"):]
			got, err := ParseRecord(b, k.Digest(), base)
			if err != nil || !reflect.DeepEqual(got, rec) {
				t.Errorf("record %d: %v\n got %+v\nwant %+v", i, err, got, rec)
			}
			for cut := range len(b) {
				if got, err := ParseRecord(b[:cut], k.Digest(), base); rec.State != StateDone && (!errors.Is(err, ErrCorrupt) || !reflect.DeepEqual(got, Record{})) {
					t.Errorf("record %d, cut to %d bytes: %+v, %v", i, cut, got, err)
				}
			}
			if rec.Result == nil {
				if _, err := ParseRecord(append(b, 0), k.Digest(), base); !errors.Is(err, ErrCorrupt) {
					t.Errorf("record %d with a byte behind it: %v", i, err)
				}
			}
		}
	}
}

// A server that stamps a record later than it was made keeps its lengths.
func TestTimesOfARecordMoveWithItsBase(t *testing.T) {
	rec := Record{State: StateDone, Fence: 1, Expires: 1500}
	moved, err := ParseRecord(AppendRecord(nil, &rec, 1000), Digest{}, 2000)
	if err != nil || moved.Expires != 2500 {
		t.Errorf("expires at %d, %v; want 2500", moved.Expires, err)
	}
}

func TestARecordOfAnotherKeyIsCorrupt(t *testing.T) {
	for i, rec := range encodedRecords(t) {
		if rec.Key.IsZero() {
			continue
		}
		if _, err := ParseRecord(AppendRecord(nil, &rec, 0), Digest{1}, 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("record %d: %v, want ErrCorrupt", i, err)
		}
	}
}

// Whatever the bytes are, reading them does not panic, and what is read says the
// same when it is written again.
func FuzzParseRecord(f *testing.F) {
	k, _ := NewKey("shop", "billing", "order-17")
	for _, rec := range encodedRecords(f) {
		f.Add(AppendRecord(nil, &rec, 0))
	}
	f.Add([]byte{})
	f.Add([]byte("P\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := ParseRecord(b, k.Digest(), 5000)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || !reflect.DeepEqual(rec, Record{}) {
				t.Fatalf("%+v, %v", rec, err)
			}
			return
		}
		again, err := ParseRecord(AppendRecord(nil, &rec, 5000), k.Digest(), 5000)
		if err != nil || !reflect.DeepEqual(again, rec) {
			t.Fatalf("%v\n got %+v\nthen %+v", err, rec, again)
		}
	})
}
