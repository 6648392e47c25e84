package natsstore_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/sequences"
)

func TestRandomSequences(t *testing.T) {
	t.Parallel()
	js := start(t).JetStream()
	sequences.Run(t, func(t testing.TB) *claimtest.Harness {
		h := harness(t, js, inMemory)
		h.Unit = 40 * time.Millisecond // no answer depends on how quick the machine is
		return h
	})
}
