package natsstore_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

// Run with -cpu 64 for 64 callers. The server is in the same process, so its
// allocations count too.
func BenchmarkContract(b *testing.B) {
	js := start(b).JetStream()
	claimtest.Benchmark(b, func(t testing.TB) *claimtest.Harness { return harness(t, js, nil) })
}

// BenchmarkAgainstPlainWrites compares claim and done with what any pair of
// writes to the bucket costs: 64 callers, and batches of 100, in turn.
func BenchmarkAgainstPlainWrites(b *testing.B) {
	js := start(b).JetStream()
	bucket := newBucket(b, js, nil)
	s := newStore(b, js, bucket)
	ctx := b.Context()
	keys := make([]claim.Key, b.N)
	for i := range keys {
		keys[i] = newKey(b)
	}
	const callers, round = 64, 2048
	var claims, plain time.Duration
	var n [2]int
	parallel := func(part []claim.Key, do func(claim.Key) error) time.Duration {
		began := time.Now()
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := c; i < len(part); i += callers {
					if err := do(part[i]); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	b.ResetTimer()
	for turn := 0; len(keys) > 0; turn++ {
		part := keys[:min(round, len(keys))]
		keys = keys[len(part):]
		n[turn%2] += len(part)
		if turn%2 == 0 {
			claims += parallel(part, func(key claim.Key) error { return claimDone(ctx, s, key) })
		} else {
			plain += parallel(part, func(key claim.Key) error { return twoWrites(ctx, js, bucket, key) })
		}
	}
	if n[1] > 0 {
		b.ReportMetric(float64(n[0])/claims.Seconds(), "messages/s")
		b.ReportMetric(float64(n[1])/plain.Seconds(), "plain/s")
		b.ReportMetric(float64(n[0])/claims.Seconds()/(float64(n[1])/plain.Seconds()), "of-plain")
	}
}

func claimDone(ctx context.Context, s claim.Store, key claim.Key) error {
	v, err := s.TryClaim(ctx, key, newRequest())
	if err == nil && v.Outcome != claim.Claimed {
		err = fmt.Errorf("TryClaim: %v", v.Outcome)
	}
	if err == nil {
		_, err = s.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Hour})
	}
	return err
}

// twoWrites creates a key and updates it, with values as large as records.
func twoWrites(ctx context.Context, js jetstream.JetStream, bucket string, key claim.Key) error {
	subject := "$KV." + bucket + "." + key.Digest().String()
	ack, err := js.Publish(ctx, subject, make([]byte, 90), jetstream.WithExpectLastSequencePerSubject(0))
	if err == nil {
		_, err = js.Publish(ctx, subject, make([]byte, 16), jetstream.WithExpectLastSequencePerSubject(ack.Sequence))
	}
	return err
}

// BenchmarkBytes fills a bucket with b.N done keys, in batches, and reports what
// the server keeps of each in its file, and in memory for its index.
func BenchmarkBytes(b *testing.B) {
	js := start(b).JetStream()
	bucket := newBucket(b, js, nil)
	s := newStore(b, js, bucket)
	before := heap()
	const size = 500
	for left := b.N; left > 0; left -= size {
		ops := make([]*claim.Op, min(size, left))
		for i := range ops {
			ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: newKey(b), Request: newRequest()}
		}
		s.Apply(b.Context(), ops)
		for _, op := range ops {
			if op.Err != nil {
				b.Fatal(op.Err)
			}
			op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: 24 * time.Hour}
		}
		s.Apply(b.Context(), ops)
		for _, op := range ops {
			if op.Err != nil {
				b.Fatal(op.Err)
			}
		}
	}
	stream, err := js.Stream(b.Context(), "KV_"+bucket)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(stream.CachedInfo().State.Bytes)/float64(b.N), "stored-B/id")
	b.ReportMetric((heap()-before)/float64(b.N), "heap-B/id")
}

// heap returns the bytes that are in use, of the server too.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
