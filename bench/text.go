//go:build linux

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// text is the summary that a person reads at the end of a run.
func (r *report) text() string {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "figure\tvalue\tmust\taim\t")
	for _, l := range r.Lines {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.figure(), l.demand(l.Must), l.demand(l.Aim), l.verdict())
	}
	_ = tab.Flush() // into memory
	met, missed, open := r.judged()
	fmt.Fprintf(&b, "\n%d musts are met, %d are not, %d were not measured; %s on %s\n", len(met), len(missed), len(open), r.Elapsed, r.Machine)
	for _, l := range missed {
		fmt.Fprintf(&b, "missed: %s: %s, must be %s\n", l.Name, l.figure(), l.demand(l.Must))
	}
	fmt.Fprintf(&b, "R was %s messages/s at the start and %s at the end, and moved by at most %.0f %% in a part that counts\n",
		number(r.Ceiling.Start.Rate), number(r.Ceiling.End.Rate), 100*r.Ceiling.Drift)
	for _, name := range r.VoidParts {
		fmt.Fprintf(&b, "void: %s: R moved by more than %.0f %% each time; something else was running\n", name, 100*maxDrift)
	}
	switch {
	case r.Void:
		fmt.Fprintln(&b, "VOID: no part was measured while the machine kept still. Nothing was written")
	case r.Short:
		fmt.Fprintln(&b, "a short run: everything runs, the figures mean nothing")
	}
	return b.String()
}

// judged sorts the lines of which something is demanded.
func (r *report) judged() (met, missed, open []*line) {
	for _, l := range r.Lines {
		switch {
		case l.Must == nil:
		case l.OK == nil:
			open = append(open, l)
		case *l.OK:
			met = append(met, l)
		default:
			missed = append(missed, l)
		}
	}
	return met, missed, open
}
