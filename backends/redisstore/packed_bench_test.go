package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// claimAndFinish returns what handles a batch.
func claimAndFinish(store *redisstore.Store, retention time.Duration) func(context.Context, []*claim.Op) error {
	return func(ctx context.Context, ops []*claim.Op) error {
		store.Apply(ctx, ops)
		for _, op := range ops {
			if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
				return fmt.Errorf("%v, %w", op.Verdict.Outcome, op.Err)
			}
			op.Kind, op.Grant = claim.OpMarkDone, op.Verdict.Grant
			op.Completion = claim.Completion{Retention: retention}
		}
		store.Apply(ctx, ops)
		for _, op := range ops {
			if op.Err != nil {
				return op.Err
			}
		}
		return nil
	}
}

// BenchmarkLayouts measures messages in batches of 100 in both layouts, and with
// positions, while as many ids are forgotten as are finished: in the packed one
// there are all its generations then.
func BenchmarkLayouts(b *testing.B) {
	const retention, expected = 2 * time.Second, 50_000
	s := redistest.StartOwn(b)
	client := s.Client()
	for name, o := range map[string]redisstore.Options{
		"plain":     {},
		"packed":    {Packed: &redisstore.PackedOptions{ExpectedIDs: expected, Retention: retention}},
		"positions": {Positions: &redisstore.PositionOptions{}},
	} {
		b.Run(name, func(b *testing.B) {
			o.Prefix = fresh(s.Prefix)
			store := newStore(b, client, &o)
			for start := time.Now(); time.Since(start) < 3*retention; {
				finishMany(b, store, 100, retention)
			}
			b.ResetTimer()
			batches(b, client, claimAndFinish(store, retention))
		})
	}
}

// BenchmarkMemory measures what a remembered id takes: a million in one
// generation of the packed layout, and as many as are remembered at a time when
// they come and go all the time, on average and at most. Run it with
// -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	const ids = 1_000_000
	for _, l := range []struct {
		name   string
		packed *redisstore.PackedOptions
	}{
		{"plain", nil},
		{"packed", &redisstore.PackedOptions{ExpectedIDs: 2 * ids, Retention: 24 * time.Hour}},
	} {
		b.Run("of="+l.name, func(b *testing.B) {
			s := redistest.StartOwn(b)
			before := usedMemory(b, s.Client())
			client := redis.NewClient(s.Options())
			store := newStore(b, client, &redisstore.Options{MaxBatch: 1000, Packed: l.packed})
			for range ids / 1000 {
				finishMany(b, store, 1000, 24*time.Hour)
			}
			_ = client.Close() // its buffers are none of the ids'
			b.ReportMetric(float64(usedMemory(b, s.Client())-before)/ids, "bytes/id")
		})
	}
	b.Run("of=positions", func(b *testing.B) {
		b.ReportMetric(bytesAPosition(b, ids), "bytes/id")
	})
	b.Run("of=packed/steady", func(b *testing.B) {
		if testing.Short() {
			b.Skip("it takes four minutes of real time")
		}
		const retention, perSecond = 60 * time.Second, 3_000
		const remembered = int(retention/time.Second) * perSecond
		s := redistest.StartOwn(b)
		admin := s.Client()
		store := newStore(b, s.Client(), &redisstore.Options{MaxBatch: 1000,
			Packed: &redisstore.PackedOptions{ExpectedIDs: remembered, Retention: retention}})
		before := usedMemory(b, admin)
		var most, sum, samples float64
		for start, done := time.Now(), 0; time.Since(start) < 4*retention; {
			if due := int(time.Since(start).Seconds() * perSecond); due-done < 1000 {
				s.Advance(time.Millisecond)
				continue
			}
			finishMany(b, store, 1000, retention)
			if done += 1000; done > 2*remembered {
				each := float64(usedMemory(b, admin)-before) / float64(remembered)
				most, sum, samples = max(most, each), sum+each, samples+1
			}
		}
		b.ReportMetric(sum/samples, "bytes/id")
		b.ReportMetric(most, "most-bytes/id")
	})
}
