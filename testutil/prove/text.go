//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// text is the summary that a person reads at the end of a run.
func (p *proof) text() string {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "fault\torders\tfaults\tlost\tran again\tper million\tunexplained\ttakeover p50/p99\tfailures\t")
	for _, f := range p.Faults {
		fmt.Fprintf(tab, "%s\t%d\t%d\t%d\t%d\t%.0f\t%d\t%s\t%d\t%s\n", f.Fault, f.Orders, f.Hits, f.Lost,
			total(f.Seconds), f.PerMillion, f.Unexplained, f.takeover(), f.Failed, f.Title)
	}
	_ = tab.Flush() // into memory
	for _, c := range p.Controls {
		fmt.Fprintf(&b, "negative control %s: %d lost, %d ran again\n", c.Name, c.Lost, total(c.Seconds))
	}
	fmt.Fprintf(&b, "%d of %d cells of the matrix, %d orders in %d deliveries, %s\n", p.Covered, p.Cells, p.Orders, p.Deliveries, p.Elapsed)
	for _, n := range p.NotCovered {
		fmt.Fprintf(&b, "not covered: %s\n", n)
	}
	for _, f := range p.Failures {
		fmt.Fprintf(&b, "FAILED %s\n", f)
	}
	if len(p.Failures) == 0 {
		fmt.Fprintln(&b, "nothing failed")
	}
	return b.String()
}

func (f *faultProof) takeover() string {
	if f.P99 == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f s / %.2f s", f.P50, f.P99)
}

// reasons lists counts by reason, as "3 of this, 2 of that".
func reasons(m map[string]int) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[why], why))
	}
	if parts == nil {
		return "–"
	}
	return strings.Join(parts, "; ")
}

// markdown is docs/proof.md.
func (p *proof) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Proof\n")
	line("Written by `%s`, begun %s, in %s; do not edit. The same with every trial: [proof.json](proof.json).\n",
		p.Command, p.Begun.Format("2006-01-02 15:04 MST"), p.Elapsed)
	if len(p.Failures) > 0 {
		line("**Not everything held:**\n")
		for _, f := range p.Failures {
			line("- %s", f)
		}
		line("")
	}
	line("%d orders were published in %d messages and delivered %d times. %d were lost.", p.Orders, p.Messages, p.Deliveries, p.Lost)
	line("%d of the %d cells of the fault matrix (fault × point) were struck.\n", p.Covered, p.Cells)
	line("| fault | expected | orders | faults | lost | ran again | per million | why | takeover p50 / p99 | points |")
	line("|---|---|--:|--:|--:|--:|--:|---|---|---|")
	for _, f := range p.Faults {
		line("| %s %s | %s | %d | %d | %d | %d | %.0f | %s | %s | %s |", f.Fault, f.Title, f.Expect, f.Orders, f.Hits, f.Lost,
			total(f.Seconds), f.PerMillion, reasons(f.Seconds), f.takeover(), strings.Join(f.Covered, " "))
	}
	line("\n## How to read it\n")
	line("%s", howTo)
	line("## Overlaps\n")
	line("Handlers that ran side by side for one order, by reason. One without a reason is a failure (I9).\n")
	line("| fault | overlaps |\n|---|---|")
	for _, f := range p.Faults {
		if len(f.Overlaps) > 0 {
			line("| %s | %s |", f.Fault, reasons(f.Overlaps))
		}
	}
	line("\n## Negative controls\n")
	line("Consumers that are known to be wrong, under the same faults. The campaign fails if one is not caught.\n")
	line("| consumer | orders | lost | ran again |\n|---|--:|--:|--:|")
	for _, c := range p.Controls {
		line("| %s (%s) | %d | %d | %d |", c.Name, c.Fault, c.Orders, c.Lost, total(c.Seconds))
	}
	line("\n## Invariants\n")
	line("How many trials checked each, over all of their orders.\n")
	line("| invariant | trials |\n|---|--:|")
	for _, i := range slices.Sorted(maps.Keys(p.Invariants)) {
		line("| %s %s | %d |", i, invariants[i], p.Invariants[i])
	}
	line("\n## Not covered\n")
	for _, n := range p.NotCovered {
		line("- %s", n)
	}
	for _, n := range alsoNot {
		line("- %s", n)
	}
	line("\n## Made with\n")
	line("- machine: %s", p.Machine)
	for _, name := range slices.Sorted(maps.Keys(p.Versions)) {
		line("- %s %s", name, p.Versions[name])
	}
	line("- seed %d, lease 1 s, ack wait 1 s, 3 or 4 workers of 8 handlers", p.Seed)
	return b.String()
}

var invariants = map[string]string{
	"I2":  "the fence strictly rises over grants",
	"I4":  "an owner that was superseded changes nothing and is not acked",
	"I5":  "what the bus was told is done is recorded done or dead",
	"I6":  "no loss: every order has an effect or a dead letter, or is still with the bus",
	"I7":  "every key in the store has an end",
	"I9":  "no second execution and no overlap without a recorded reason",
	"I10": "the row of a sink that checks the fence is that of the run that was committed; in a transactional inbox an order has one effect",
}

// alsoNot is beside the matrix.
var alsoNot = []string{
	"power loss: a kill keeps what the kernel has cached. Whether a store or a bus survives a power cut is theirs to show.",
	"a network between machines: everything ran on one, the cuts are in a proxy.",
	"F4 on NATS KV: one reply alone cannot get lost among those that share its connection. Other faults on NATS KV and PostgreSQL: their packages' tests have some.",
	"I1, I3, I8, I11 and I12 are shown elsewhere, by the store suite, the model and the histories.",
}

const howTo = `An **order** is a message with an id; some are published more than once. A **fault** is one injection: the worker
asked the trial at the named point of a chosen order, and the fault struck before the worker went on. The points:
p0 before the claim is sent, p1 claim in flight, p2 claim executed and its reply lost, p3 claimed, p4 in the handler,
p5 effect done, p6 commit executed and its reply lost, p7 done, p8 ack sent or lost; commit, half of an inbox's COMMIT sent. **Lost** orders are gone from the bus
without an effect or a dead letter; there must be none. **Ran again** counts effects after the first of an order, and **per
million** relates them to the orders of the trials, in which faults are far more frequent than in any production: it is
no rate to expect there. **Why** comes from the ledger that handlers append
to, the log of injected faults and the exits of processes, never from the library's word; one without a reason is a failure.
Claims are in Redis where nothing else is said. With the inbox the effects are rows of its own database, and no reason excuses
a second one. **Takeover** is the time from a kill to the next run of what was in flight, where the lease is 1 s and the ack wait 1 s.
`
