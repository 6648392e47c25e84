//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// way is a way of handling messages that can be measured.
type way struct {
	name    string
	callers int
	per     int     // messages of one call
	server  *server // whose processor time counts; nil: none
	timed   bool    // time the calls; one that takes nanoseconds must not be

	// before is called before each sample; nil: the server is flushed.
	before func() error
	// open returns what one caller does in a loop: handle the messages from
	// number n on. It is called once for each caller and sample.
	open func(caller int) (func(n uint64) error, error)
}

// caller is one goroutine of a sample. Its counters have a cache line of their
// own.
type caller struct {
	handled atomic.Int64
	_       [56]byte
	times   []time.Duration // the latest calls, as a ring
	calls   int
	err     error
}

// maxTimes bounds the calls whose time is kept, over all callers.
const maxTimes = 1 << 20

// The phases of a sample.
const (
	warming = iota
	recording
	ending
)

// turns measures the ways in turn, and so often, and adds their medians to the
// report.
func (b *bench) turns(part string, n int, ways ...*way) ([]series, error) {
	all := make([]series, len(ways))
	for range n {
		for i, w := range ways {
			s, err := b.sample(w)
			if err != nil {
				return nil, fmt.Errorf("bench: %s: %s, %d callers: %w", part, w.name, w.callers, err)
			}
			all[i] = append(all[i], s)
		}
	}
	for _, s := range all {
		b.add(part, s)
	}
	return all, nil
}

// add puts the medians of a way into the report.
func (b *bench) add(part string, s series) {
	m := measured{Part: part, Turns: len(s), sample: s.median()}
	b.report.Ways = append(b.report.Ways, m)
	b.progress("%s: %s, %d callers: %s messages/s", part, m.Way, m.Callers, number(m.Rate))
}

// sample measures a way once.
func (b *bench) sample(w *way) (sample, error) {
	if err := w.prepare(); err != nil {
		return sample{}, err
	}
	return b.load(w, b.set.sample)
}

func (w *way) prepare() error {
	switch {
	case w.before != nil:
		return w.before()
	case w.server != nil:
		return w.server.flush()
	}
	return nil
}

// load runs the callers of a way until the sample is taken.
func (b *bench) load(w *way, d time.Duration) (sample, error) {
	var phase atomic.Int32
	var running sync.WaitGroup
	failed, fail := context.WithCancelCause(b.ctx)
	defer fail(nil)
	callers := make([]caller, w.callers)
	for i := range callers {
		c := &callers[i]
		handle, err := w.open(i)
		if err != nil {
			return sample{}, err
		}
		if w.timed {
			c.times = make([]time.Duration, maxTimes/w.callers)
		}
		running.Go(func() {
			if c.run(b.ids, w.per, &phase, handle); c.err != nil {
				fail(c.err)
			}
		})
	}
	s, err := b.window(w, d, &phase, failed, func() (n int64) {
		for i := range callers {
			n += callers[i].handled.Load()
		}
		return n
	})
	phase.Store(ending)
	running.Wait()
	if cause := context.Cause(failed); cause != nil {
		err = cause
	}
	if err != nil {
		return sample{}, err
	}
	s.Way, s.Callers = w.name, w.callers
	var times []time.Duration
	for i := range callers {
		c := &callers[i]
		times = append(times, c.times[:min(c.calls, len(c.times))]...)
	}
	slices.Sort(times)
	micros := func(p float64) float64 { return float64(percentile(times, p).Nanoseconds()) / 1e3 }
	s.P50, s.P99 = micros(0.5), micros(0.99)
	return s, nil
}

// run handles messages until the phase is ending.
func (c *caller) run(ids *ids, per int, phase *atomic.Int32, handle func(n uint64) error) {
	begun := time.Now()
	for {
		p := phase.Load()
		if p == ending {
			return
		}
		if c.err = handle(ids.take(per)); c.err != nil {
			return
		}
		c.handled.Add(int64(per))
		if c.times == nil {
			continue
		}
		now := time.Now()
		if p == recording {
			c.times[c.calls%len(c.times)] = now.Sub(begun)
			c.calls++
		}
		begun = now
	}
}

// window takes the sample while the callers run.
func (b *bench) window(w *way, d time.Duration, phase *atomic.Int32, ctx context.Context, count func() int64) (sample, error) {
	pause(ctx, b.set.warm)
	from, err := look(w.server, count)
	if err != nil {
		return sample{}, err
	}
	phase.Store(recording)
	pause(ctx, d)
	to, err := look(w.server, count)
	return between(from, to), err
}

// pause returns after d or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fill handles so many messages the given way, and does not measure.
func (b *bench) fill(w *way, messages int) error {
	var left atomic.Int64
	left.Store(int64(messages))
	errs := make([]error, w.callers)
	var running sync.WaitGroup
	for i := range w.callers {
		handle, err := w.open(i)
		if err != nil {
			return err
		}
		running.Go(func() {
			for errs[i] == nil && left.Add(-int64(w.per)) > -int64(w.per) {
				if errs[i] = b.ctx.Err(); errs[i] == nil {
					errs[i] = handle(b.ids.take(w.per))
				}
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("bench: %s: %w", w.name, err)
		}
	}
	return nil
}
