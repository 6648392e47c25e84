package pebblestore_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/backends/pebblestore"
	"github.com/oncebus/once/claim"
)

// victimEnv tells the test binary that it is to be killed, and where and how it
// keeps its claims until then.
const victimEnv = "PEBBLESTORE_VICTIM"

// The process is killed with kill -9 in mid-traffic, again and again on one
// directory. What it was answered under the policy is there afterwards; what was
// done does not run again.
func TestKill(t *testing.T) {
	if os.Getenv(victimEnv) != "" {
		victim(t)
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			claimed, done := map[int]uint64{}, map[int]bool{}
			for round := range 4 {
				c, d := killed(t, dir, policy, round)
				for n, fence := range c {
					claimed[n] = fence
				}
				for n := range d {
					done[n] = true
				}
			}
			if len(done) == 0 {
				t.Fatal("the victims were answered nothing")
			}
			s := reopen(t, dir, policy)
			for n, fence := range claimed {
				v := outcome(t, s, numbered(t, n))
				switch {
				case policy == pebblestore.SyncNone:
					// Whole operations are lost, never half of one.
				case done[n] && v.Outcome != claim.Done:
					t.Errorf("message %d was done and is %v", n, v.Outcome)
				case policy == pebblestore.SyncAll && v.Outcome == claim.Claimed:
					t.Errorf("message %d was claimed and is not", n)
				}
				if v.Outcome == claim.Claimed && v.Grant.Fence <= fence {
					t.Errorf("fence %d after %d", v.Grant.Fence, fence)
				}
			}
			t.Logf("%d claims and %d completions were answered", len(claimed), len(done))
		})
	}
}

// killed runs a victim, kills it after some answers and returns them all.
func killed(t *testing.T, dir string, policy pebblestore.Sync, round int) (claimed map[int]uint64, done map[int]bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestKill$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", victimEnv, policy, round, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	claimed, done = map[int]uint64{}, map[int]bool{}
	last := 50 + rand.N(400)
	lines := bufio.NewScanner(out)
	for answers := 0; lines.Scan(); answers++ {
		if answers == last {
			_ = cmd.Process.Kill() // what it wrote before still comes
		}
		var what string
		var n int
		var fence uint64
		switch _, err := fmt.Sscan(lines.Text(), &what, &n, &fence); {
		case err != nil:
			t.Errorf("the victim says %q", lines.Text())
		case what == "claimed":
			claimed[n] = fence
		case what == "done":
			done[n] = true
		}
	}
	_ = cmd.Wait() // it was killed
	return claimed, done
}

// victim claims messages and finishes two of three, and says so once it was
// answered, until it is killed.
func victim(t *testing.T) {
	var policy pebblestore.Sync
	var round int
	var dir string
	if _, err := fmt.Sscan(os.Getenv(victimEnv), &policy, &round, &dir); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, policy)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // nobody may be left to kill it
	defer cancel()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := round*1_000_000 + worker; ctx.Err() == nil; n += 8 {
				key := numbered(t, n)
				v, err := s.TryClaim(ctx, key, newRequest())
				if err != nil || v.Outcome != claim.Claimed {
					fmt.Println("failed:", v.Outcome, err)
					return
				}
				fmt.Println("claimed", n, v.Grant.Fence)
				if n%3 == 0 {
					continue
				}
				if _, err := s.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
					fmt.Println("failed:", err)
					return
				}
				fmt.Println("done", n, v.Grant.Fence)
			}
		})
	}
	wg.Wait()
	os.Exit(0)
}

func numbered(t testing.TB, n int) claim.Key {
	t.Helper()
	key, err := claim.NewKey("", "victim", claim.MessageID(fmt.Sprint(n)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func reopen(t testing.TB, dir string, policy pebblestore.Sync) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(dir, &pebblestore.Options{Sync: policy, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
