package claimtest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

const (
	benchmarkBatch = 100
	// benchmarkRetention is how many units a record lives in a benchmark: the
	// Unit of the harness decides whether records end while it runs.
	benchmarkRetention = 100
)

// Benchmark measures a store. One operation is one message, except for
// Duplicate, where it is one claim:
//
//	ClaimDone          TryClaim and MarkDone by one caller
//	ClaimDoneParallel  the same by many callers; set their number with -cpu
//	Batch100           100 claims in one Apply, then their 100 completions
//	Duplicate          TryClaim of a key that is done
//
// The figures include making each key with claim.NewKey. Leases last a minute
// and records 100 units, so that a small Harness.Unit measures a store from
// which records also expire. It calls open once per benchmark.
func Benchmark(b *testing.B, open func(t testing.TB) *Harness) {
	b.Run("ClaimDone", func(b *testing.B) {
		m := newMessages(open(b))
		b.ReportAllocs()
		for b.Loop() {
			m.claimDone(b)
		}
	})
	b.Run("ClaimDoneParallel", func(b *testing.B) {
		m := newMessages(open(b))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.claimDone(b)
			}
		})
	})
	b.Run("Batch100", func(b *testing.B) { benchmarkBatches(b, newMessages(open(b))) })
	b.Run("Duplicate", func(b *testing.B) {
		m := newMessages(open(b))
		m.retention = time.Hour
		key := m.claimDone(b)
		ctx := context.Background()
		req := m.request(1)
		b.ReportAllocs()
		for b.Loop() {
			v, err := m.store.TryClaim(ctx, key, req)
			if err != nil || v.Outcome != claim.Done {
				b.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
			}
		}
	})
}

// messages makes message ids without allocating: each is another window of one
// random text.
type messages struct {
	store     claim.Store
	retention time.Duration
	text      string
	next      atomic.Uint64
}

func newMessages(h *Harness) *messages {
	text := make([]byte, 16<<20)
	src := rand.NewPCG(1, rand.Uint64())
	for i := 0; i < len(text); i += 8 {
		binary.LittleEndian.PutUint64(text[i:], src.Uint64())
	}
	return &messages{store: h.Store, text: string(text),
		retention: max(benchmarkRetention*h.Unit, claim.MinRetention)}
}

// key returns the n-th key. Ids differ in their window, and from one round
// through the text to the next in their length.
func (m *messages) key(b *testing.B, n uint64) claim.Key {
	round, at := n/(1<<23), n%(1<<23)
	k, err := claim.NewKey("bench", "consumer", claim.MessageID(m.text[at:at+16+round]))
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// request returns a request with a token of its own. It is not random, so that
// the figures are the store's.
func (m *messages) request(n uint64) claim.Request {
	var token claim.Token
	binary.LittleEndian.PutUint64(token[:], n+1)
	return claim.Request{Token: token, TTL: time.Minute, Retention: max(time.Minute, m.retention)}
}

func (m *messages) claimDone(b *testing.B) claim.Key {
	n := m.next.Add(1)
	key := m.key(b, n)
	ctx := context.Background()
	v, err := m.store.TryClaim(ctx, key, m.request(n))
	if err != nil || v.Outcome != claim.Claimed {
		b.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
	}
	if _, err := m.store.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: m.retention}); err != nil {
		b.Fatal(err)
	}
	return key
}

func benchmarkBatches(b *testing.B, m *messages) {
	ctx := context.Background()
	storage := make([]claim.Op, benchmarkBatch)
	ops := make([]*claim.Op, benchmarkBatch)
	for i := range ops {
		ops[i] = &storage[i]
	}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= benchmarkBatch {
		batch := ops[:min(left, benchmarkBatch)]
		for _, op := range batch {
			n := m.next.Add(1)
			*op = claim.Op{Kind: claim.OpTryClaim, Key: m.key(b, n), Request: m.request(n)}
		}
		claim.Apply(ctx, m.store, batch)
		for _, op := range batch {
			if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
				b.Fatalf("TryClaim: %v, error %v", op.Verdict.Outcome, op.Err)
			}
			op.Kind, op.Grant = claim.OpMarkDone, op.Verdict.Grant
			op.Completion = claim.Completion{Retention: m.retention}
		}
		claim.Apply(ctx, m.store, batch)
		for _, op := range batch {
			if op.Err != nil {
				b.Fatal(op.Err)
			}
		}
	}
}
