package redisstore_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/redistest"
	"github.com/oncebus/once/testutil/sequences"
)

func TestRandomSequencesOnMiniredis(t *testing.T) {
	sequences.Run(t, func(t testing.TB) *claimtest.Harness {
		m := redistest.Mini(t)
		return &claimtest.Harness{
			// Batches of more than two operations go out as two calls.
			Store:   newStore(t, m.Client(), &redisstore.Options{MaxBatch: 2}),
			Advance: m.Advance,
			Unit:    time.Second,
		}
	})
}

func TestRandomSequencesOnServer(t *testing.T) {
	s := redistest.Start(t)
	sequences.Run(t, func(t testing.TB) *claimtest.Harness { return harness(t, s.Client(), s.Prefix, s.Advance) })
}
