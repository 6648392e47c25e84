package memstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// check fails unless the shards' indexes, heaps and counts agree.
func (s *Store) check(t *testing.T) {
	t.Helper()
	var records, bytes int64
	for i := range s.shards {
		table := &s.shards[i].table
		if len(table.index) != len(table.ends) || len(table.index)+len(table.slots.free) != table.slots.used {
			t.Fatalf("%d indexed, %d ends, %d free, %d slots", len(table.index), len(table.ends), len(table.slots.free), table.slots.used)
		}
		rests := 0
		for digest, at := range table.index {
			rec := table.load(at)
			slot := table.slots.at(at)
			if slot.digest != digest || table.ends[slot.end] != (end{rec.Expires, at}) {
				t.Fatalf("slot %d is out of step with the index or the heap", at)
			}
			if slot.rest != 0 {
				rests++
			}
			records++
			bytes += cost(&rec)
		}
		if rests+len(table.rests.free) != table.rests.used {
			t.Fatalf("%d rests in use, %d free, %d in all", rests, len(table.rests.free), table.rests.used)
		}
		for i := 1; i < len(table.ends); i++ {
			if table.ends[i].expires < table.ends[(i-1)/2].expires {
				t.Fatalf("the heap is out of order at %d", i)
			}
		}
	}
	if n, b := s.room.records.Load(), s.room.bytes.Load(); n != records || b != bytes {
		t.Fatalf("%d records of %d bytes counted, %d of %d there", n, b, records, bytes)
	}
}

// Random operations on few keys, against a plain map of records: every answer
// must be the same, and the insides must agree.
func TestTableAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		now := time.UnixMicro(1_784_000_000_000_000)
		s, err := New(&Options{Shards: 3, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		model := map[claim.Key]claim.Record{}
		gone := map[claim.Key]uint64{} // the last fence of a key without a record
		var keys []claim.Key
		for i := range 30 {
			k, err := claim.NewKey("", "c", claim.MessageID(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		for range 3000 {
			now = now.Add(time.Duration(rng.Uint64N(uint64(400 * time.Millisecond))))
			k := keys[rng.IntN(len(keys))]
			at := claim.Instant(now.UnixMicro())
			if rec := model[k]; rec.State != claim.StateAbsent && at >= rec.Expires {
				gone[k] = rec.Fence
				delete(model, k)
			}
			rec := model[k]
			op := randomOp(rng, k, rec)
			want := *op
			next, write := claim.Step(rec, &want, at)
			s.apply(t.Context(), op)
			// A key that comes back has a fence above all that its shard forgot.
			if rec.State == claim.StateAbsent && op.Verdict.Outcome == claim.Claimed {
				if op.Verdict.Grant.Fence <= gone[k] {
					t.Fatalf("seed %d: fence %d after %d", seed, op.Verdict.Grant.Fence, gone[k])
				}
				next.Fence, want.Verdict.Grant.Fence = op.Verdict.Grant.Fence, op.Verdict.Grant.Fence
			}
			if (op.Err == nil) != (want.Err == nil) || op.Recovered != want.Recovered || !reflect.DeepEqual(op.Verdict, want.Verdict) {
				t.Fatalf("seed %d, %v: got %+v %v, want %+v %v", seed, op.Kind, op.Verdict, op.Err, want.Verdict, want.Err)
			}
			switch {
			case write && next.State == claim.StateAbsent:
				gone[k] = rec.Fence
				delete(model, k)
			case write:
				model[k] = next
			}
			if entry, err := s.Get(t.Context(), k); err != nil || !reflect.DeepEqual(entry.Record, model[k]) {
				t.Fatalf("seed %d, after %v: error %v, record\n%+v, want\n%+v", seed, op.Kind, err, entry.Record, model[k])
			}
		}
		s.check(t)
		now = now.Add(claim.MaxRetention)
		s.reclaim()
		s.check(t)
		if n := s.room.records.Load(); n != 0 {
			t.Fatalf("%d records left after the longest retention", n)
		}
	}
}

// randomOp returns an operation that often fits the record.
func randomOp(rng *rand.Rand, k claim.Key, rec claim.Record) *claim.Op {
	token := func() (t claim.Token) {
		binary.LittleEndian.PutUint64(t[:], rng.Uint64N(5)+1)
		return t
	}
	grant := claim.Grant{Token: rec.Token, Fence: rec.Fence, Attempt: rec.Attempt}
	if grant.Token.IsZero() || rng.IntN(4) == 0 {
		grant.Token = token()
	}
	if grant.Fence == 0 || rng.IntN(8) == 0 {
		grant.Fence = 1 + rng.Uint64N(10)
	}
	op := &claim.Op{Kind: claim.OpTryClaim + claim.OpKind(rng.IntN(7)), Key: k, Grant: grant, Reason: "reason"}
	op.Request = claim.Request{Token: token(), TTL: time.Second, Retention: time.Duration(1+rng.IntN(5)) * time.Second, MaxAttempts: rng.IntN(4)}
	op.TTL = time.Duration(1+rng.IntN(3)) * time.Second
	op.Completion = claim.Completion{Retention: time.Duration(1+rng.IntN(9)) * time.Second}
	if rng.IntN(2) == 0 {
		op.Completion.Result = make([]byte, rng.IntN(3))
	}
	return op
}
