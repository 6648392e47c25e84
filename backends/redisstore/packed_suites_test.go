package redisstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/histories/redisfaults"
	"github.com/oncebus/once/testutil/redistest"
	"github.com/oncebus/once/testutil/sequences"
)

// packedFor returns options with the packed layout.
func packedFor(prefix string, retention time.Duration) *redisstore.Options {
	return &redisstore.Options{Prefix: prefix, Packed: &redisstore.PackedOptions{Retention: retention}}
}

func onPackedMiniredis(unit, retention time.Duration) func(testing.TB) *claimtest.Harness {
	return func(t testing.TB) *claimtest.Harness {
		m := redistest.Mini(t)
		o := packedFor("", retention)
		o.MaxBatch = 2
		return &claimtest.Harness{Store: newStore(t, m.Client(), o), Advance: m.Advance, Unit: unit}
	}
}

// packedHarness is harness with the packed layout.
func packedHarness(t testing.TB, client redis.UniversalClient, prefix string, advance func(time.Duration), retention time.Duration) *claimtest.Harness {
	return &claimtest.Harness{
		Store:    newStore(t, client, packedFor(fresh(prefix), retention)),
		Advance:  advance,
		Unit:     unit,
		Parallel: true,
	}
}

func TestPackedContractOnMiniredis(t *testing.T) {
	claimtest.Run(t, onPackedMiniredis(time.Second, 2*time.Hour))
}

func TestPackedContractOnServer(t *testing.T) {
	s := redistest.Start(t)
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		return packedHarness(t, s.Client(), s.Prefix, s.Advance, 10*unit)
	})
}

func TestPackedContractUnderTheDocumentedACL(t *testing.T) {
	long(t)
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		return packedHarness(t, client, "once:", s.Advance, 10*time.Minute)
	})
}

func TestPackedContractOnClusterUnderTheDocumentedACL(t *testing.T) {
	long(t)
	c := redistest.StartCluster(t, 3, "--aclfile", aclFile(t))
	o := c.Options()
	o.Username, o.Password = "once-cluster", "secret"
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		return packedHarness(t, client, "once:", c.Advance, 10*time.Minute)
	})
}

// Ends are exact in so short a retention, and the sequences compare them.
func TestPackedRandomSequencesOnMiniredis(t *testing.T) {
	const unit = 10 * time.Millisecond
	sequences.Run(t, onPackedMiniredis(unit, 10*unit))
}

func TestPackedRandomSequencesOnServer(t *testing.T) {
	long(t)
	s := redistest.Start(t)
	sequences.Run(t, func(t testing.TB) *claimtest.Harness {
		return packedHarness(t, s.Client(), s.Prefix, s.Advance, 10*unit)
	})
}

// As TestHistories, with the packed layout: with leases that hold and clients that
// send everything once, and with leases that end and clients that send again.
func TestPackedHistories(t *testing.T) {
	slots := make(chan struct{}, 4)
	for _, fault := range redisfaults.All() {
		for _, lease := range []time.Duration{0, 40 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/lease %v", fault.Name, lease), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				seed := rand.Uint64()
				h := redisfaults.Record(t, fault, redisfaults.Options{
					Open: func(t testing.TB, client *redis.Client) claim.Store {
						return newStore(t, client, packedFor("", 24*time.Hour))
					},
					Workload: histories.Workload{Seed: seed, Operations: 800, Lease: lease, Operators: lease == 0},
					Resend:   lease != 0,
				})
				r := histories.Check(t, h)
				t.Logf("seed %d: %+v; %d keys by the weaker model", seed, h.Counts(), r.Weaker)
			})
		}
	}
}
