package redisstore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
)

func BenchmarkContract(b *testing.B) {
	s := redistest.Start(b)
	open := onServer(s.Client(), s.Prefix, s.Advance)
	claimtest.Benchmark(b, func(b testing.TB) *claimtest.Harness { return open(b, plain()) })
}

// BenchmarkDeadlines measures what it costs to return in time on a client that
// does not heed deadlines.
func BenchmarkDeadlines(b *testing.B) {
	s := redistest.Start(b)
	for _, heeded := range []bool{true, false} {
		o := s.Options()
		o.ContextTimeoutEnabled = heeded
		client := redis.NewClient(o)
		b.Cleanup(func() { _ = client.Close() })
		store := newStore(b, client, &redisstore.Options{Prefix: fresh(s.Prefix)})
		b.Run(fmt.Sprintf("heeded=%v", heeded), func(b *testing.B) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			key, req := message(messages.Add(1))
			b.ReportAllocs()
			for b.Loop() {
				if v, err := store.TryClaim(ctx, key, req); err != nil || v.Outcome != claim.Claimed {
					b.Fatal(v.Outcome, err)
				}
			}
		})
	}
}

// BenchmarkMessages measures messages, one claim and one completion each, in
// several ways:
//
//	combined      the store as it is
//	single        the store without combining
//	autopipeline  the same by go-redis's own pipelining of concurrent calls
//	bare          go-redis with a plain script for each step
//	plain         two plain SETs, the least that any store of this kind can do
//	script        batches of 100 by Apply
//
// Compare them inside one run only, and the server's time, the client's time and
// the allocations, which other programs disturb less, before the messages a
// second.
func BenchmarkMessages(b *testing.B) {
	s := redistest.Start(b)
	for _, callers := range []int{1, 64, 256, 1024} {
		o := s.Options()
		o.PoolSize = min(callers, 256)
		client := redis.NewClient(o)
		b.Cleanup(func() { _ = client.Close() })
		auto, err := client.AutoPipeline()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = auto.Close() })
		for _, way := range []struct {
			name   string
			client redis.UniversalClient
			off    bool
		}{{"combined", client, false}, {"single", client, true}, {"autopipeline", pipelining{client, auto}, true}} {
			b.Run(fmt.Sprintf("callers=%d/of=%s", callers, way.name), func(b *testing.B) {
				store := newStore(b, way.client, &redisstore.Options{Prefix: fresh(s.Prefix), NoCombining: way.off})
				concurrently(b, client, callers, func(ctx context.Context, n uint64) error {
					if way.name == "autopipeline" {
						ctx = context.Background() // it heeds none
					}
					key, req := message(n)
					v, err := store.TryClaim(ctx, key, req)
					if err != nil || v.Outcome != claim.Claimed {
						return fmt.Errorf("%v, %w", v.Outcome, err)
					}
					_, err = store.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Minute})
					return err
				})
			})
		}
		for _, script := range []*redis.Script{plainClaim, plainDone} {
			if err := script.Load(b.Context(), client).Err(); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("callers=%d/of=bare", callers), func(b *testing.B) {
			prefix := fresh(s.Prefix)
			concurrently(b, client, callers, func(ctx context.Context, n uint64) error {
				key, req := message(n)
				d := key.Digest()
				name := []string{prefix + string(d[:])}
				for _, step := range []*redis.Script{plainClaim, plainDone} {
					if err := step.EvalSha(ctx, client, name, req.Token[:], time.Minute.Milliseconds()).Err(); err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.Run(fmt.Sprintf("callers=%d/of=plain", callers), func(b *testing.B) {
			prefix := fresh(s.Prefix)
			concurrently(b, client, callers, func(ctx context.Context, n uint64) error {
				key, _ := message(n)
				d := key.Digest()
				for range 2 {
					if err := client.Set(ctx, prefix+string(d[:]), 1, time.Minute).Err(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	client := s.Client()
	b.Run("batch=100/of=script", func(b *testing.B) {
		store := newStore(b, client, &redisstore.Options{Prefix: fresh(s.Prefix)})
		batches(b, client, func(ctx context.Context, ops []*claim.Op) error {
			store.Apply(ctx, ops)
			for _, op := range ops {
				if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
					return fmt.Errorf("%v, %w", op.Verdict.Outcome, op.Err)
				}
				op.Kind, op.Grant = claim.OpMarkDone, op.Verdict.Grant
				op.Completion = claim.Completion{Retention: time.Minute}
			}
			store.Apply(ctx, ops)
			for _, op := range ops {
				if op.Err != nil {
					return op.Err
				}
			}
			return nil
		})
	})
	b.Run("batch=100/of=plain", func(b *testing.B) {
		prefix := fresh(s.Prefix)
		batches(b, client, func(ctx context.Context, ops []*claim.Op) error {
			for range 2 {
				pipe := client.Pipeline()
				for _, op := range ops {
					d := op.Key.Digest()
					pipe.Set(ctx, prefix+string(d[:]), 1, time.Minute)
				}
				if _, err := pipe.Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// pipelining is a client that sends single commands by its AutoPipeliner.
type pipelining struct {
	*redis.Client
	auto *redis.AutoPipeliner
}

func (c pipelining) Process(ctx context.Context, cmd redis.Cmder) error {
	return c.auto.Process(ctx, cmd)
}

// plainClaim and plainDone are about the least that a lock with an owner takes.
var (
	plainClaim = redis.NewScript(`
		local owner = redis.call('GET', KEYS[1])
		if owner then return owner end
		return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])`)
	plainDone = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		return redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])`)
)

func message(n uint64) (claim.Key, claim.Request) {
	var id [8]byte
	binary.LittleEndian.PutUint64(id[:], n)
	key, err := claim.NewKey("bench", "consumer", claim.MessageID(id[:]))
	if err != nil {
		panic(err)
	}
	req := claim.Request{TTL: time.Minute, Retention: time.Minute}
	binary.LittleEndian.PutUint64(req.Token[:], n+1)
	return key.At(claim.Place{Log: "bench", Sequence: n}), req
}

var messages atomic.Uint64

// concurrently handles b.N messages by so many callers.
func concurrently(b *testing.B, server *redis.Client, callers int, handle func(ctx context.Context, n uint64) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	defer report(b, server)()
	left := int64(b.N)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for atomic.AddInt64(&left, -1) >= 0 {
				if err := handle(ctx, messages.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// batches handles b.N messages by four callers, 100 at a time.
func batches(b *testing.B, server *redis.Client, handle func(ctx context.Context, ops []*claim.Op) error) {
	const callers, size = 4, 100
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	defer report(b, server)()
	left := int64(b.N)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			storage, ops := make([]claim.Op, size), make([]*claim.Op, size)
			for atomic.AddInt64(&left, -size) > -size {
				for i := range ops {
					key, req := message(messages.Add(1))
					storage[i] = claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
					ops[i] = &storage[i]
				}
				if err := handle(ctx, ops); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// report begins to measure, and returns what ends it.
func report(b *testing.B, server *redis.Client) (end func()) {
	b.ReportAllocs()
	before, mine := serverTime(b, server), clientTime(b)
	b.ResetTimer()
	return func() {
		b.StopTimer()
		b.ReportMetric((clientTime(b)-mine)*1e6/float64(b.N), "client-µs/message")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		b.ReportMetric((serverTime(b, server)-before)*1e6/float64(b.N), "server-µs/message")
	}
}

// serverTime returns the seconds of processor time that the server has used.
func serverTime(b *testing.B, server *redis.Client) (seconds float64) {
	info, err := server.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			part, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += part
		}
	}
	return seconds
}

// clientTime returns the seconds of processor time that this process has used.
func clientTime(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}
