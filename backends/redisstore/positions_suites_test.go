package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
	"github.com/oncebus/once/testutil/sequences"
)

// positionsFor returns options with positions, beside the plain layout or the
// packed one.
func positionsFor(prefix string, packed bool) *redisstore.Options {
	o := &redisstore.Options{Prefix: prefix}
	if packed {
		o = packedFor(prefix, time.Hour)
	}
	o.Positions = &redisstore.PositionOptions{}
	return o
}

// layouts calls run for positions beside each of the two layouts.
func layouts(t *testing.T, run func(t *testing.T, packed bool)) {
	for name, packed := range map[string]bool{"plain": false, "packed": true} {
		t.Run(name, func(t *testing.T) { run(t, packed) })
	}
}

func placesOnMiniredis(packed bool) func(testing.TB) *claimtest.Harness {
	return func(t testing.TB) *claimtest.Harness {
		m := redistest.Mini(t)
		o := positionsFor("", packed)
		o.MaxBatch = 2
		return &claimtest.Harness{Store: newStore(t, m.Client(), o), Advance: m.Advance, Unit: time.Second, Places: true}
	}
}

// placesHarness is harness for keys with places.
func placesHarness(t testing.TB, client redis.UniversalClient, prefix string, advance func(time.Duration), packed bool) *claimtest.Harness {
	return &claimtest.Harness{
		Store:    newStore(t, client, positionsFor(fresh(prefix), packed)),
		Advance:  advance,
		Unit:     unit,
		Places:   true,
		Parallel: true,
	}
}

func TestPositionsContractOnMiniredis(t *testing.T) { claimtest.Run(t, placesOnMiniredis(false)) }

func TestPositionsContractUnderTheDocumentedACL(t *testing.T) {
	long(t)
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		return placesHarness(t, client, "once:", s.Advance, true)
	})
}

func TestPositionsContractOnClusterUnderTheDocumentedACL(t *testing.T) {
	long(t)
	c := redistest.StartCluster(t, 3, "--aclfile", aclFile(t))
	o := c.Options()
	o.Username, o.Password = "once-cluster", "secret"
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = client.Close() })
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		return placesHarness(t, client, "once:{tag}:", c.Advance, false)
	})
}

func TestPositionsRandomSequencesOnMiniredis(t *testing.T) {
	layouts(t, func(t *testing.T, packed bool) { sequences.Run(t, placesOnMiniredis(packed)) })
}

func TestPositionsRandomSequencesOnServer(t *testing.T) {
	long(t)
	s := redistest.Start(t)
	sequences.Run(t, func(t testing.TB) *claimtest.Harness {
		return placesHarness(t, s.Client(), s.Prefix, s.Advance, false)
	})
}
