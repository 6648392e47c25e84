//go:build linux

package main

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// sample is what one turn of a way has shown.
type sample struct {
	Way      string  `json:"way"`
	Callers  int     `json:"callers"`
	Messages int64   `json:"messages"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"messages_per_second"`
	// P50 and P99 are of one call, which may handle many messages. They are zero
	// where calls were not timed.
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
	// Client and Server are the processor time of a message, in µs. The client's
	// includes everything that runs in this process.
	Client float64 `json:"client_cpu_us"`
	Server float64 `json:"server_cpu_us"`
	Allocs float64 `json:"allocations"`
}

// window is what was read at one end of a sample.
type window struct {
	at       time.Time
	client   time.Duration
	server   time.Duration
	mallocs  uint64
	messages int64
}

// look reads everything. Server may be nil, and count the messages so far.
func look(s *server, count func() int64) (w window, err error) {
	if s != nil {
		if w.server, err = s.cpu(); err != nil {
			return w, err
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.mallocs, w.client = m.Mallocs, cpuTime()
	w.at, w.messages = time.Now(), count()
	return w, nil
}

// cpuTime returns the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for wrong arguments alone
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// between returns the sample from one window to another.
func between(from, to window) sample {
	n := to.messages - from.messages
	s := sample{Messages: n, Seconds: to.at.Sub(from.at).Seconds()}
	if n > 0 {
		per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }
		s.Rate = float64(n) / s.Seconds
		s.Client, s.Server = per(to.client-from.client), per(to.server-from.server)
		s.Allocs = float64(to.mallocs-from.mallocs) / float64(n)
	}
	return s
}

// series are the turns of one way.
type series []sample

// median returns the median of each figure.
func (s series) median() sample {
	if len(s) == 0 {
		return sample{}
	}
	of := func(f func(sample) float64) float64 { return significant(median(mapped(s, f))) }
	m := s[0]
	for _, t := range s[1:] {
		m.Messages += t.Messages
		m.Seconds += t.Seconds
	}
	m.Seconds = significant(m.Seconds)
	m.Rate, m.P50, m.P99 = of(rate), of(p50), of(func(t sample) float64 { return t.P99 })
	m.Client, m.Server = of(client), of(serverCPU)
	m.Allocs = of(allocs)
	return m
}

func rate(s sample) float64      { return s.Rate }
func p50(s sample) float64       { return s.P50 }
func client(s sample) float64    { return s.Client }
func serverCPU(s sample) float64 { return s.Server }
func allocs(s sample) float64    { return s.Allocs }

// ratio returns the median over the turns of a's figure by b's: what a machine
// does to both in one turn cancels out.
func ratio(a, b series, figure func(sample) float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = figure(a[i]) / figure(b[i])
	}
	return median(ratios)
}

func mapped(s series, figure func(sample) float64) []float64 {
	values := make([]float64, len(s))
	for i, t := range s {
		values[i] = figure(t)
	}
	return values
}

// median returns NaN for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// percentile of values that are sorted; 0 for none.
func percentile[T cmp.Ordered](sorted []T, p float64) T {
	var none T
	if len(sorted) == 0 {
		return none
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// drift is how far two figures are apart, as a part of the smaller one.
func drift(a, b float64) float64 { return max(a, b)/min(a, b) - 1 }

// maxDrift of R makes a run void.
const maxDrift = 0.15

// significant rounds to four digits. What no number can say, which JSON does not
// know either, is 0.
func significant(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}
