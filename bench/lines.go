//go:build linux

package main

import (
	"fmt"
	"math"
	"strconv"
)

// The names of the lines.
const (
	doP50         = "Do, 1 caller, p50, against two bare EVALSHA"
	do64R         = "Do, 64 callers, of R"
	do64Eval      = "Do, 64 callers, against one EVALSHA per step"
	do256R        = "Do, 256 callers, of R"
	do1024R       = "Do, 1024 callers, of R"
	do256Eval     = "Do, 256 callers, against one EVALSHA per step"
	batchR        = "WrapBatch of 100, of R"
	batchCPU      = "WrapBatch of 100, server CPU a message, against R"
	do256CPU      = "Do, 256 callers, server CPU a message, against R"
	localRate     = "duplicates answered by the local memory, a core"
	localAllocs   = "duplicates answered by the local memory, allocations"
	memRate       = "memstore Do, a core"
	memAllocs     = "memstore Do, allocations"
	do256Allocs   = "Do, 256 callers, allocations a message"
	packedBytes   = "Redis bytes per id, packed, one generation"
	steadyBytes   = "Redis bytes per id, packed, steady state"
	plainBytes    = "Redis bytes per id, plain records"
	positionBytes = "Redis bytes per position id"
	streamRatio   = "JetStream with Once, against a plain double ack"
	remembered    = "10,000,000 remembered ids, against 1,000"
	beatCalls     = "heartbeats of 10,000 claims, calls per 1,000 claims"
	beatCPU       = "heartbeats of 10,000 claims, of a core"
	peerSame      = "256 callers, against the best peer that claims, checks the owner and tells done from running"

	// Not demanded, and worth knowing.
	streamBatch  = "JetStream in batches with Once, against batches without"
	peerAny      = "256 callers, against the best peer on Redis of any kind"
	flatHeap     = "heap after 10,000,000 messages, above that after 1,000,000"
	flatRoutines = "goroutines left after Close"
)

// line is a figure and what is demanded of it.
type line struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Value is nil when it was not measured. Figure is the value as it is shown.
	Value  *float64 `json:"value"`
	Figure string   `json:"figure"`
	// Must and Aim are nil where nothing is demanded. Less says that the value
	// has to be at most that; otherwise at least.
	Must *float64 `json:"must"`
	Aim  *float64 `json:"aim"`
	Less bool     `json:"at_most"`
	// OK says whether the must is met; nil when there is none or no value.
	OK  *bool  `json:"ok"`
	How string `json:"how"`
}

// newLines returns the lines, in the order of the report, without values.
func newLines() []*line {
	least := func(name, unit string, must, aim float64) *line {
		return &line{Name: name, Unit: unit, Must: &must, Aim: &aim}
	}
	most := func(name, unit string, must, aim float64) *line {
		l := least(name, unit, must, aim)
		l.Less = true
		return l
	}
	return []*line{
		most(doP50, "×", 1.2, 1.05),
		least(do64R, "of R", 0.28, 0.43),
		least(do64Eval, "×", 2, 3.5),
		least(do256R, "of R", 0.42, 0.7),
		least(do1024R, "of R", 0.5, 0.9),
		least(do256Eval, "×", 3.5, 6),
		least(batchR, "of R", 0.55, 0.9),
		most(batchCPU, "×", 1.6, 1.1),
		most(do256CPU, "×", 2, 1.35),
		least(localRate, "M/s", 3, 10),
		most(localAllocs, "a message", 0, 0),
		least(memRate, "M/s", 1, 3),
		most(memAllocs, "a message", 2, 0),
		most(do256Allocs, "a message", 6, 2),
		most(packedBytes, "bytes", 30, 24),
		most(steadyBytes, "bytes", 48, 36),
		most(plainBytes, "bytes", 125, 113),
		most(positionBytes, "bytes", 1, 0.3),
		least(streamRatio, "×", 0.7, 0.9),
		least(remembered, "×", 0.9, 1),
		most(beatCalls, "calls", 1, 1),
		most(beatCPU, "%", 2, 2),
		least(peerSame, "×", 1, 3),
		{Name: streamBatch, Unit: "×"},
		{Name: peerAny, Unit: "×"},
		{Name: flatHeap, Unit: "MiB", Less: true},
		{Name: flatRoutines, Unit: "goroutines", Less: true},
	}
}

// measured sets the value, rounded as it is shown, so that what is judged is what
// is read.
func (l *line) measured(value float64, how string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	value = math.Round(value*100) / 100
	l.Value, l.How, l.Figure = &value, how, number(value)+" "+l.Unit
	if l.Must != nil {
		ok := l.meets(*l.Must)
		l.OK = &ok
	}
}

func (l *line) meets(bound float64) bool {
	return l.Value != nil && (l.Less && *l.Value <= bound || !l.Less && *l.Value >= bound)
}

// figure is the value with its unit.
func (l *line) figure() string {
	if l.Value == nil {
		return "not measured"
	}
	return l.Figure
}

// demand is a bound, as "≥ 0.5".
func (l *line) demand(bound *float64) string {
	switch {
	case bound == nil:
		return "–"
	case l.Less:
		return "≤ " + number(*bound)
	}
	return "≥ " + number(*bound)
}

// verdict is a word for the table.
func (l *line) verdict() string {
	switch {
	case l.Value == nil:
		return "not measured"
	case l.Must == nil:
		return "–"
	case !*l.OK:
		return "missed"
	case l.meets(*l.Aim):
		return "met, and the aim"
	}
	return "met"
}

// number prints a figure without digits that mean nothing.
func number(x float64) string {
	switch {
	case x >= 1000:
		return grouped(int64(math.Round(x)))
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	}
	return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64)
}

// grouped prints 1234567 as 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
