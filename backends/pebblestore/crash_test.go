package pebblestore_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/claim"
)

// answered is what callers were told before a crash.
type answered struct {
	mu     sync.Mutex
	grants map[claim.Key]claim.Grant // guarded by mu
	done   map[claim.Key]bool        // guarded by mu
}

// The machine loses power at some moment of heavy traffic, and keeps any part of
// what was not synced. What was answered under the policy is there afterwards.
func TestCrash(t *testing.T) {
	for name, policy := range map[string]pebblestore.Sync{
		"SyncAll": pebblestore.SyncAll, "SyncEnds": pebblestore.SyncEnds, "SyncNone": pebblestore.SyncNone,
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				crash(t, policy)
			}
		})
	}
}

func crash(t *testing.T, policy pebblestore.Sync) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs, pebblestore.Options{Sync: policy})
	told := answered{grants: map[claim.Key]claim.Grant{}, done: map[claim.Key]bool{}}
	keys := make([]claim.Key, 400)
	for i := range keys {
		keys[i] = newKey(t)
	}
	ctx := context.Background()
	clone := make(chan *vfs.MemFS, 1)
	var seen answered
	moment := rand.N(300)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := c; i < len(keys); i += 8 {
				if i == moment {
					// What callers know now must be on the disk now.
					told.mu.Lock()
					seen.grants, seen.done = clones(told.grants), clones(told.done)
					told.mu.Unlock()
					clone <- fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rand.N(101), RNG: rand.New(rand.NewPCG(rand.Uint64(), 1))})
				}
				v, err := s.TryClaim(ctx, keys[i], newRequest())
				if err != nil || v.Outcome != claim.Claimed {
					t.Errorf("%v, %v", v.Outcome, err)
					return
				}
				told.mu.Lock()
				told.grants[keys[i]] = v.Grant
				told.mu.Unlock()
				if i%3 == 0 {
					continue
				}
				if _, err := s.MarkDone(ctx, keys[i], v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
					t.Error(err)
					return
				}
				told.mu.Lock()
				told.done[keys[i]] = true
				told.mu.Unlock()
			}
		})
	}
	wg.Wait()
	after := open(t, <-clone, pebblestore.Options{Sync: policy})
	for _, key := range keys {
		v := outcome(t, after, key)
		g, claimed := seen.grants[key]
		switch {
		case policy == pebblestore.SyncNone:
			// Whole operations are lost, never half of one.
		case seen.done[key] && v.Outcome != claim.Done:
			t.Errorf("%v was done before the crash and is %v", key, v.Outcome)
		case policy == pebblestore.SyncAll && claimed && v.Outcome != claim.Done && v.Outcome != claim.Pending:
			t.Errorf("%v was claimed before the crash and is %v", key, v.Outcome)
		}
		if v.Outcome == claim.Claimed && claimed && v.Grant.Fence <= g.Fence {
			t.Errorf("fence %d after %d", v.Grant.Fence, g.Fence)
		}
	}
}

func clones[V any](m map[claim.Key]V) map[claim.Key]V {
	c := make(map[claim.Key]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
