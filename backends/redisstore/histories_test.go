package redisstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/histories/redisfaults"
)

// Concurrent consumers on a real server under each fault: with leases that hold
// and clients that send everything once, and with leases that end and clients
// that send again what was not answered; with a store for each, and with one for
// all, which combines their operations. There nobody could say what was sent
// again for whom, and where anything may have been, anything is explained.
func TestHistories(t *testing.T) {
	// Each has a server and six consumers: more at a time would only be slow, and
	// a fault of their own.
	slots := make(chan struct{}, 4)
	for _, fault := range redisfaults.All() {
		for _, lease := range []time.Duration{0, 40 * time.Millisecond} {
			for _, combined := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/lease %v/combined %v", fault.Name, lease, combined), func(t *testing.T) {
					t.Parallel()
					slots <- struct{}{}
					defer func() { <-slots }()
					open := openStore
					if combined {
						open = openCombined
					}
					seed := rand.Uint64()
					h := redisfaults.Record(t, fault, redisfaults.Options{
						Open:     open,
						Workload: histories.Workload{Seed: seed, Operations: 800, Lease: lease, Operators: lease == 0},
						Shared:   combined,
						Resend:   lease != 0 && !combined,
					})
					r := histories.Check(t, h)
					t.Logf("seed %d: %+v; %d keys by the weaker model", seed, h.Counts(), r.Weaker)
				})
			}
		}
	}
}

func openStore(t testing.TB, client *redis.Client) claim.Store {
	return newStore(t, client, &redisstore.Options{})
}

func openCombined(t testing.TB, client *redis.Client) claim.Store {
	return newStore(t, client, nil).OneFlight(t)
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
