//go:build linux

package nemesis

import (
	"fmt"
	"slices"
	"time"
)

// Result is what a trial showed.
type Result struct {
	Fault   string
	Backend Backend
	Name    string
	Points  []Point

	Orders     int           // published; each must have its effect
	Messages   int           // with copies
	Deliveries int           // that reached a worker
	Runs       int           // of the handler
	Effects    int           // in the ledger
	Hits       map[Point]int // faults, by the point at which they struck
	Kills      int           // workers that were killed

	Lost    int            // orders without an effect or a dead letter, gone from the bus
	Dead    int            // dead letters
	Seconds map[string]int // second executions with an effect before, by reason
	// Overlaps are handlers that ran side by side for one order, by reason.
	Overlaps map[string]int
	// Unexplained are second executions and overlaps without a reason.
	Unexplained int
	// Takeovers are the times from a kill to the next run of what was in flight.
	Takeovers []time.Duration
	// Expiries are grants that followed a lease which had run out.
	Expiries int
	// Accepted and Refused are the writes to the sink that checks fences.
	Accepted, Refused int
	// Workers is the sum of what the workers that ended in peace reported.
	Workers Report
	// Circuits is how often a worker left the store alone, and Recovered how often
	// it came back to it.
	Circuits, Recovered int
	// Exits is how many workers ended before the trial was over.
	Exits int

	Checked  []string // invariants
	Failures []string
	Elapsed  time.Duration

	effects map[string]int
	starts  map[string][]int64
	rows    map[string]int
	hits    []Hit
}

// maxFailures bounds how many sentences a result keeps.
const maxFailures = 12

func (r *Result) fail(format string, args ...any) {
	if len(r.Failures) < maxFailures {
		r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
	}
}

func (r *Result) checked(invariant string) {
	if !slices.Contains(r.Checked, invariant) {
		r.Checked = append(r.Checked, invariant)
	}
}

// Doubled returns how many second executions there were.
func (r *Result) Doubled() int {
	n := 0
	for _, count := range r.Seconds {
		n += count
	}
	return n
}

// EffectsOf returns how many effects an order has.
func (r *Result) EffectsOf(order string) int { return r.effects[order] }

// AcceptedOf returns how many writes of an order the sink has accepted.
func (r *Result) AcceptedOf(order string) int { return r.rows[order] }

// StartsOf returns when the handler started for an order, in Unix nanoseconds.
func (r *Result) StartsOf(order string) []int64 { return r.starts[order] }

// HitsAt returns the orders that triggered the fault at a point.
func (r *Result) HitsAt(p Point) (hits []Hit) {
	for _, h := range r.hits {
		if h.Point == p {
			hits = append(hits, h)
		}
	}
	return hits
}

// Percentile returns the p-th of durations, 0 of none. The slice is sorted.
func Percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(p*float64(len(d))))]
}
