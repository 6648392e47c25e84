//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/oncebus/once/dedupe"
)

// bench is a run.
type bench struct {
	ctx    context.Context
	set    *settings
	stderr io.Writer
	report *report
	ids    *ids

	dir     string
	servers int
	redis   *server         // that the parts share
	once    *dedupe.Deduper // on redis
	limit   *way            // R on redis
	takeR   func(*sample) error
	closers []func()
}

// part is a part of the run, which fills lines of the report.
type part struct {
	name  string
	lines []string
	run   func(b *bench) error
	// counts says that nothing of it is a time: it counts bytes, whatever else the
	// machine does.
	counts bool
}

var parts = []part{
	{"callers", []string{doP50, do64R, do64Eval, do256R, do1024R, do256Eval, do256CPU, do256Allocs}, (*bench).callers, false},
	{"batches", []string{batchR, batchCPU}, (*bench).batches, false},
	{"local", []string{localRate, localAllocs, memRate, memAllocs}, (*bench).local, false},
	{"bytes", []string{plainBytes, packedBytes, steadyBytes, positionBytes}, (*bench).bytes, true},
	{"stream", []string{streamRatio, streamBatch}, (*bench).stream, false},
	{"remembered", []string{remembered}, (*bench).remembered, false},
	{"heartbeats", []string{beatCalls, beatCPU}, (*bench).heartbeats, false},
	{"peers", []string{peerSame, peerAny}, (*bench).peers, false},
	{"flat", []string{flatHeap, flatRoutines}, (*bench).flat, true},
}

// tries is how often a part is measured while R moves under it.
const tries = 4

// measure runs the parts that are asked for, each between two measurements of R.
func measure(ctx context.Context, s *settings, args []string, stderr io.Writer) (*report, error) {
	b := &bench{ctx: ctx, set: s, stderr: stderr, ids: newIDs(s.seed), report: newReport(s, args)}
	b.takeR = b.takeCeiling
	defer b.close()
	var chosen []part
	for _, p := range parts {
		if s.only.MatchString(p.name) || slices.ContainsFunc(p.lines, s.only.MatchString) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("bench: -only %s: no part and no line has such a name", s.only)
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	var before sample
	for range 2 { // the first warms up
		if err := b.takeCeiling(&before); err != nil {
			return nil, err
		}
	}
	b.report.Ceiling.Start = before
	for _, p := range chosen {
		if err := b.attempt(p, &before); err != nil {
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
	b.report.Ceiling.End = before
	b.report.finish(s)
	return b.report, nil
}

// attempt runs a part, and once more while R differs after it from R before it by
// more than the machine may. What is void then is left out of the report. before
// is the last that was measured of R.
func (b *bench) attempt(p part, before *sample) error {
	for try := 1; ; try++ {
		empty := b.report.snapshot()
		if err := p.run(b); err != nil {
			return err
		}
		first := before.Rate
		if err := b.takeR(before); err != nil {
			return err
		}
		moved := drift(first, before.Rate)
		if p.counts || b.set.short || moved <= maxDrift {
			if !p.counts {
				b.report.Ceiling.Drift = max(b.report.Ceiling.Drift, significant(moved))
			}
			return nil
		}
		b.report.restore(empty)
		if try == tries {
			b.progress("%s: void, R moved by %.0f %% each time; left out", p.name, 100*moved)
			b.report.VoidParts = append(b.report.VoidParts, p.name)
			return nil
		}
		b.progress("%s: R moved by %.0f %% meanwhile; once more", p.name, 100*moved)
	}
}

func (b *bench) open() (err error) {
	if b.dir, err = os.MkdirTemp("", "once-bench-"); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if b.redis, err = b.start(); err != nil {
		return err
	}
	b.limit, err = b.ceiling()
	return err
}

// close ends what the run started, last first.
func (b *bench) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // a leftover in the temporary directory harms nobody
	}
}

// takeCeiling measures R alone.
func (b *bench) takeCeiling(to *sample) error {
	all, err := b.turns("R alone", b.set.turns, b.limit)
	if err != nil {
		return err
	}
	*to = all[0].median()
	return nil
}

// progress tells a person what is going on.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.stderr, "%5.0fs  %s\n", time.Since(b.report.Begun).Seconds(), fmt.Sprintf(format, args...))
}

// found fills a line of the report.
func (b *bench) found(name string, value float64, how string, args ...any) {
	how = strings.TrimSpace(fmt.Sprintf(how, args...))
	b.report.line(name).measured(value, how)
	b.progress("%s: %s", name, b.report.line(name).figure())
}
