package memstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oncebus/once/testutil/histories"
)

// Concurrent consumers, with leases that hold and with leases that end, with
// records that are kept and with records that are forgotten.
func TestHistories(t *testing.T) {
	workloads := map[string]histories.Workload{
		"leases hold":           {Operations: 4000, Operators: true},
		"leases end":            {Operations: 400, Lease: 12 * time.Millisecond, Pause: 4 * time.Millisecond},
		"leases end, operators": {Operations: 400, Lease: 12 * time.Millisecond, Pause: 4 * time.Millisecond, Operators: true},
		"records end":           {Operations: 400, Lease: 12 * time.Millisecond, Pause: 4 * time.Millisecond, Retention: 15 * time.Millisecond},
	}
	for name, w := range workloads {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				w := w
				w.Seed = seed
				traffic, recorder := w.Start(), histories.NewRecorder()
				clients := make([]histories.Client, 8)
				store := mustNew(t, nil)
				for i := range clients {
					clients[i].Store = store
				}
				recorder.Run(nil, traffic.Drive(clients...)...)
				recorder.Run(nil, traffic.Probe(clients[0]))
				h := recorder.History()
				histories.Check(t, h)
				t.Logf("%+v", h.Counts())
			})
		}
	}
}
