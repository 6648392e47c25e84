//go:build linux

package main

import "strings"

// plots returns the files of the plots, without those for which nothing was
// measured.
func (r *report) plots() map[string]string {
	all := map[string]string{
		"performance-throughput.svg": r.throughput(),
		"performance-latency.svg":    r.latency(),
		"performance-bytes.svg":      r.layouts(),
		"performance-remembered.svg": r.scale(),
		"performance-peers.svg":      r.againstPeers(),
	}
	for name, plot := range all {
		if plot == "" {
			delete(all, name)
		}
	}
	return all
}

// byCallers returns a curve of a way's figure, over the numbers of callers.
func (r *report) byCallers(way, name, colour string, figure func(sample) float64) curve {
	k := curve{name: name, colour: colour}
	for _, callers := range callerCounts {
		if s, ok := r.way("callers", way, callers); ok {
			k.x, k.y = append(k.x, float64(callers)), append(k.y, figure(s))
		}
	}
	return k
}

// measuredCurves leaves out those without points.
func measuredCurves(curves ...curve) []curve {
	var some []curve
	for _, k := range curves {
		if len(k.x) > 0 {
			some = append(some, k)
		}
	}
	return some
}

func (r *report) throughput() string {
	curves := measuredCurves(
		r.byCallers("Do", "Once, one by one", "a", rate),
		r.byCallers("EVALSHA per step", "EVALSHA per step", "b", rate))
	if len(curves) == 0 {
		return ""
	}
	ends := []float64{1, float64(callerCounts[len(callerCounts)-1])}
	level := func(name, colour string, y float64) {
		curves = append(curves, curve{name: name, colour: colour, dashed: true, x: ends, y: []float64{y, y}})
	}
	level("R, the raw limit", "soft", r.Ceiling.Start.Rate)
	if s, ok := r.way("batches", "WrapBatch", ceilingConns); ok {
		level("Once, batches", "c", s.Rate)
	}
	return chart{title: "Messages a second, by callers", subtitle: "claim, handler that does nothing, done; client and Redis on " + cores(r.Machine),
		xLabel: "callers side by side", curves: curves}.svg()
}

func cores(machine string) string {
	n, _, _ := strings.Cut(machine, " ")
	return "the same " + n + " cores"
}

func (r *report) latency() string {
	p99 := func(s sample) float64 { return s.P99 }
	return chart{title: "Latency, by callers", subtitle: "µs from the call of Do to its return, at full load",
		xLabel: "callers side by side", logY: true,
		curves: measuredCurves(
			r.byCallers("Do", "Do, p50", "a", p50),
			r.byCallers("Do", "Do, p99", "d", p99),
			r.byCallers("EVALSHA per step", "EVALSHA, p50", "b", p50),
			r.byCallers("EVALSHA per step", "EVALSHA, p99", "c", p99)),
	}.svg()
}

func (r *report) layouts() string {
	var rows []bar
	for _, l := range r.Layouts {
		if l.Name == oncePeer {
			continue // the plain records once more, by fewer ids
		}
		colour := "peer"
		if l.Once {
			colour = "a"
		}
		rows = append(rows, bar{name: l.Name, value: l.Bytes, colour: colour})
	}
	return bars{title: "Bytes of Redis by remembered id", subtitle: "growth of used_memory, redis-server " + r.Versions["redis-server"], rows: rows}.svg()
}

func (r *report) scale() string {
	k := curve{name: "batches of 100", colour: "a"}
	for _, s := range r.Remembered {
		k.x, k.y = append(k.x, float64(s.IDs)), append(k.y, s.Rate)
	}
	return chart{title: "Messages a second, by remembered ids", subtitle: "batches of 100 beside so many ids that are done",
		xLabel: "remembered ids", curves: measuredCurves(k)}.svg()
}

func (r *report) againstPeers() string {
	var rows []bar
	for i, p := range r.Peers {
		if p.Memory {
			continue
		}
		row := bar{name: p.Name, value: p.Rate, colour: "peer", note: "Not guaranteed: " + p.Lacks}
		if p.Claims {
			row.colour = "b"
		}
		if i == 0 {
			row.colour, row.note = "a", "Guaranteed: what docs/guarantees.md says"
		}
		rows = append(rows, row)
	}
	return bars{title: "Messages a second against peers, 256 callers",
		subtitle: "orange: claims that end by themselves, check the owner and tell done from running; grey: less than that", rows: rows}.svg()
}
