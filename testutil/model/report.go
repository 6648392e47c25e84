package model

import (
	"fmt"
	"strings"
)

// Report is what a search found.
type Report struct {
	// States is how many states were visited, and Transitions how many events were
	// tried from them.
	States, Transitions int
	// Depth is how many events the farthest state is away from the start.
	Depth int
	// Violation is the first that was found, and nil if the search found none. No
	// shorter way leads to one.
	Violation *Violation
	// Violations has, if Config.All was set, the shortest of each invariant that
	// was broken, shortest first.
	Violations []Violation
	// Sights has what the search came by, of the names that Sights returns.
	Sights map[string]Sighting
}

// Violation is an invariant that does not hold.
type Violation struct {
	Invariant Invariant
	// Detail says what happened in the last event of the trace.
	Detail string
	// Trace is a shortest way to it, an event a line.
	Trace []string
}

// String returns the violation over several lines.
func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is broken: %s\n", v.Invariant, v.Detail)
	writeTrace(&b, v.Trace)
	return b.String()
}

// Sighting is how a search came by a sight.
type Sighting struct {
	// Count is how often the search came by it.
	Count int
	// Trace is a shortest way to it, an event a line.
	Trace []string
}

// String returns the trace, an event a line.
func (s Sighting) String() string {
	var b strings.Builder
	writeTrace(&b, s.Trace)
	return b.String()
}

func writeTrace(b *strings.Builder, trace []string) {
	for i, line := range trace {
		fmt.Fprintf(b, "%3d. %s\n", i+1, line)
	}
}

func (c *checker) report() Report {
	r := Report{States: len(c.nodes), Transitions: c.transitions, Depth: c.depth, Sights: map[string]Sighting{}}
	for _, f := range c.breaches {
		r.Violations = append(r.Violations, Violation{f.invariant, f.detail, c.trace(f.from, f.by)})
	}
	if len(r.Violations) > 0 {
		r.Violation = &r.Violations[0]
	}
	for i, s := range c.sights {
		if s.count > 0 {
			r.Sights[sightNames[i]] = Sighting{s.count, c.trace(s.from, s.by)}
		}
	}
	return r
}
