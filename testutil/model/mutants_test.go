package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// longestTrace is how long the trace of a mutant may be and still be read.
const longestTrace = 9

// eight are the mutants that the project asks for, in order.
var eight = []string{
	"claim without token comparison", "release by delete", "unconditional delete", "unconditional completion",
	"fence as a plain counter", "ack whatever happens", "heartbeat without token check", "takeover that keeps the fence",
}

func TestMutantsAreFound(t *testing.T) {
	for i, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			r := Check(m.Config())
			if r.Violation == nil {
				t.Fatalf("not found in %d states", r.States)
			}
			t.Logf("after %d states: %v", r.States, r.Violation)
			if got := r.Violation.Invariant; got != m.Breaks {
				t.Errorf("%s is broken, want %s", got, m.Breaks)
			}
			if n := len(r.Violation.Trace); n > longestTrace {
				t.Errorf("the trace has %d events, want at most %d", n, longestTrace)
			}
			if i < len(eight) && m.Name != eight[i] {
				t.Errorf("mutant %d is not %q", i+1, eight[i])
			}
		})
	}
}

// TestMutantsNeedTheirFaults takes away one fault that a mutant is said to need,
// and wants it not to be found: its trace then tells what the fault has to do
// with it.
func TestMutantsNeedTheirFaults(t *testing.T) {
	for _, m := range Mutants() {
		for fault := Expiry; fault <= Crash; fault <<= 1 {
			if m.Needs&fault == 0 {
				continue
			}
			cfg := m.Config()
			cfg.Without |= fault
			if r := Check(cfg); r.Violation != nil {
				t.Errorf("%s is found without a fault that it is said to need: %v", m.Name, r.Violation)
			}
		}
	}
}

// TestEveryInvariantIsBroken wants each invariant broken by some mutant: one that
// nothing breaks may be one that nothing could break. It prints the table of
// docs/model.md.
func TestEveryInvariantIsBroken(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&table, "| %s |\n", strings.Join(cells, " | ")) }
	all := Invariants()
	broken := map[Invariant]string{}
	for _, m := range Mutants() {
		cfg := m.Config()
		cfg.Without, cfg.All = Failover, true
		if affordable() == quick {
			cfg.Deliveries = 2
		}
		cells := make([]string, len(all))
		for _, v := range Check(cfg).Violations {
			cells[slices.Index(all, v.Invariant)] = fmt.Sprint(len(v.Trace))
			broken[v.Invariant] = m.Name
		}
		row(append([]string{m.Name}, cells...)...)
	}
	t.Logf("%v\n%s", all, table.String())
	for _, i := range all {
		if broken[i] == "" {
			t.Errorf("no mutant breaks %s: %s", i, i.Meaning())
		}
	}
}
