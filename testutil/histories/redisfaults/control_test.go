package redisfaults

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/histories"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openStore(t testing.TB, client *redis.Client) claim.Store {
	s, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hopeful takes every failure for a refusal, as a client does that says "not
// done" after a timeout.
type hopeful struct{ claim.Store }

func (h hopeful) Apply(ctx context.Context, ops []*claim.Op) {
	claim.Apply(ctx, h.Store, ops)
	for _, op := range ops {
		if errors.Is(op.Err, claim.ErrUnknown) {
			op.Fail(claim.Unavailable(nil))
		}
	}
}

func (h hopeful) one(ctx context.Context, op *claim.Op) *claim.Op {
	h.Apply(ctx, []*claim.Op{op})
	return op
}

func (h hopeful) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := h.one(ctx, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req})
	return op.Verdict, op.Err
}

func (h hopeful) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	return h.one(ctx, &claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}).Err
}

func (h hopeful) MarkDone(ctx context.Context, key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	op := h.one(ctx, &claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c})
	return op.Recovered, op.Err
}

func (h hopeful) MarkDead(ctx context.Context, key claim.Key, g claim.Grant, reason string) error {
	return h.one(ctx, &claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}).Err
}

func (h hopeful) Release(ctx context.Context, key claim.Key, g claim.Grant, delay time.Duration) error {
	return h.one(ctx, &claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}).Err
}

// What is wrong on a real server is found.
func TestMistakesAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault Fault
		open  func(t testing.TB, client *redis.Client) claim.Store
	}{
		{"lost replies taken for refusals", Fault{strike: spoil},
			func(t testing.TB, client *redis.Client) claim.Store { return hopeful{openStore(t, client)} }},
		{"a server that keeps nothing is killed", Fault{strike: kill}, openStore},
	} {
		t.Run(c.name, func(t *testing.T) {
			const seeds = 5
			for seed := range uint64(seeds) {
				h := Record(t, c.fault, Options{
					Open:     c.open,
					Workload: histories.Workload{Seed: seed, Operations: 1500, PerKey: 40},
				})
				for _, v := range histories.Verify(h).Violations {
					t.Logf("found by history %d, of %+v\n%v", seed+1, h.Counts(), v)
					return
				}
			}
			t.Errorf("not found in %d histories", seeds)
		})
	}
}
