//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown is docs/performance.md.
func (r *report) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Performance\n")
	p("Written by `%s`, begun %s UTC, in %s; do not edit. The same as data: [performance.json](performance.json).", r.Command, r.Begun.Format("2006-01-02 15:04"), r.Elapsed)
	p("Where the time and the bytes go, and what could be done next, is in [performance-notes.md](performance-notes.md).\n")
	p("Machine: %s; client and servers share it, over loopback, Redis without persistence. Versions: %s.\n", r.Machine, r.versionList())
	p("Absolute figures move with the machine; only ratios inside one run count. **R** is the raw limit: two plain SETs a message, by a client written by hand, "+
		"over %d connections, %d at a time. It was %s messages/s at the start and %s at the end, at %s µs of server CPU a message. "+
		"It is measured before and after each part, which is measured again when R has moved by more than %.0f %% meanwhile; in those shown it moved by at most %.0f %%.\n",
		ceilingConns, batchSize, number(r.Ceiling.Start.Rate), number(r.Ceiling.End.Rate), number(r.Ceiling.Start.Server), 100*maxDrift, 100*r.Ceiling.Drift)
	if len(r.VoidParts) > 0 {
		p("Left out, because R moved each time: %s.\n", strings.Join(r.VoidParts, ", "))
	}
	r.demands(p)
	r.ways(p)
	r.bytes(p)
	r.scales(p)
	r.peers(p)
	r.costs(p)
	return b.String()
}

type printer func(format string, args ...any)

func (r *report) versionList() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		list = append(list, name+" "+strings.TrimPrefix(r.Versions[name], "go"))
	}
	return strings.Join(list, ", ")
}

func (r *report) demands(p printer) {
	p("## What is demanded\n")
	p("The whole pipeline around a handler that does nothing: identify, claim, keep the lease, panic barrier, commit.\n")
	p("| figure | value | must | aim | | how |\n|---|--:|--:|--:|---|---|")
	for _, l := range r.Lines {
		p("| %s | %s | %s | %s | %s | %s |", l.Name, l.figure(), l.demand(l.Must), l.demand(l.Aim), l.verdict(), l.How)
	}
	p("")
}

func (r *report) ways(p printer) {
	p("## Ways\n")
	p("Medians. p50 and p99 are of a call, which in batches handles %d messages. The client's CPU is that of the whole process: "+
		"the program that measures, and for JetStream the server too.\n", batchSize)
	p("![messages a second by callers](performance-throughput.svg)\n\n![latency by callers](performance-latency.svg)\n")
	p("| part | way | callers | messages/s | p50 µs | p99 µs | client CPU µs | server CPU µs | allocations |\n|---|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, m := range r.Ways {
		p("| %s | %s | %d | %s | %s | %s | %s | %s | %s |", m.Part, m.Way, m.Callers, number(m.Rate), dash(m.P50), dash(m.P99), number(m.Client), dash(m.Server), number(m.Allocs))
	}
	p("")
}

// dash prints a figure that zero stands for none of.
func dash(x float64) string {
	if x == 0 {
		return "–"
	}
	return number(x)
}

func (r *report) bytes(p printer) {
	p("## Bytes of Redis by id\n")
	p("The growth of `used_memory` by an id, on servers of their own with nothing else, each id with its TTL.\n")
	p("![bytes by layout](performance-bytes.svg)\n")
	p("| layout | bytes | ids |\n|---|--:|--:|")
	for _, l := range r.Layouts {
		p("| %s | %s | %s |", l.Name, number(l.Bytes), grouped(int64(l.IDs)))
	}
	p("")
}

func (r *report) scales(p printer) {
	p("## By number of remembered ids\n")
	p("![messages a second by remembered ids](performance-remembered.svg)\n")
	p("| remembered ids | messages/s | of the fewest |\n|--:|--:|--:|")
	for _, s := range r.Remembered {
		p("| %s | %s | %s |", grouped(int64(s.IDs)), number(s.Rate), number(s.OfFewest))
	}
	p("")
}

func (r *report) peers(p printer) {
	p("## Peers\n")
	p("%d callers, a handler that does nothing, each peer at the fastest of %d settings of its client: %s. "+
		"A bar is worth as much as what it guarantees. **Claims** marks those whose claim ends by itself, whose completion checks the owner, "+
		"and which can tell a done message from a running one; without that, messages are lost or run twice in the ordinary course of things.\n",
		peerCallers, len(clientSettings), settingNames())
	p("![messages a second against peers](performance-peers.svg)\n")
	p("| peer | messages/s | p50 µs | p99 µs | server CPU µs | bytes an id | claims | what it does | what it does not guarantee |\n|---|--:|--:|--:|--:|--:|---|---|---|")
	for _, x := range r.Peers {
		claims := "no"
		if x.Claims {
			claims = "yes"
		}
		lacks := x.Lacks
		if lacks == "" {
			lacks = "see [guarantees.md](guarantees.md)"
		}
		p("| %s | %s | %s | %s | %s | %s | %s | %s; %s | %s |", x.Name, number(x.Rate), number(x.P50), number(x.P99), dash(x.Server), number(x.Bytes), claims, x.How, x.Setting, lacks)
	}
	p("")
}

func settingNames() string {
	var names []string
	for _, s := range clientSettings {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

func (r *report) costs(p printer) {
	p("## What the server's commands cost\n")
	p("By message, for %d callers of Do. Inside a script commands count twice, by themselves and in the script. System calls are not in it: "+
		"the server used %s µs of CPU a message.\n", 256, r.serverCPU())
	p("| command | calls a message | µs a message |\n|---|--:|--:|")
	for _, c := range r.Commands {
		p("| %s | %s | %s |", c.Name, number(c.Calls), number(c.Time))
	}
}

func (r *report) serverCPU() string {
	s, _ := r.way("callers", "Do", 256)
	return number(s.Server)
}
