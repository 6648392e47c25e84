//go:build !race

package memstore

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// The estimate of Options.MaxBytes must not be below what the heap holds.
func TestEstimateIsHonest(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int
		finish bool
		result int
	}{
		{"pending", 200_000, false, 0},
		{"done", 200_000, true, 0},
		// Just after the slices and the maps have grown.
		{"done, in the worst case", 60_000, true, 0},
		{"done with a result", 100_000, true, 100},
	} {
		n := c.n
		keys := make([]claim.Key, n)
		for i := range keys {
			k, err := claim.NewKey("namespace", "consumer", claim.MessageID(fmt.Sprintf("message-%026d", i)))
			if err != nil {
				t.Fatal(err)
			}
			keys[i] = k
		}
		before := heap()
		s, err := New(nil)
		if err != nil {
			t.Fatal(err)
		}
		result := make([]byte, c.result)
		for i, k := range keys {
			req := claim.Request{Token: claim.Token{0: 1}, TTL: time.Hour, Retention: 2 * time.Hour}
			v, err := s.TryClaim(t.Context(), k, req)
			if err != nil {
				t.Fatal(err)
			}
			if !c.finish {
				continue
			}
			completion := claim.Completion{Retention: time.Duration(2*n-i) * time.Second}
			if c.result > 0 {
				completion.Result = result
			}
			if _, err := s.MarkDone(t.Context(), k, v.Grant, completion); err != nil {
				t.Fatal(err)
			}
		}
		used := heap() - before
		estimate := s.room.bytes.Load()
		t.Logf("%s: %d bytes a record, %d estimated", c.name, used/int64(n), estimate/int64(n))
		if used > estimate || used < estimate/3 {
			t.Errorf("%s: the heap grew by %d bytes, the estimate is %d", c.name, used, estimate)
		}
		runtime.KeepAlive(s)
		runtime.KeepAlive(keys)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
