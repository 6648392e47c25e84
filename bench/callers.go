//go:build linux

package main

import (
	"errors"
)

// callerCounts are those of the plots.
var callerCounts = []int{1, 4, 16, 64, 256, 1024}

// callers measures single calls by so many goroutines, against R and against
// what one writes with go-redis alone.
func (b *bench) callers() error {
	const how = "median of %d turns, each of %v a way, in turn with R and with EVALSHA"
	for _, callers := range callerCounts {
		do, err := b.redisDo(callers)
		if err != nil {
			return err
		}
		bare, err := b.evalsha(callers)
		if err != nil {
			return err
		}
		all, err := b.turns("callers", b.set.turns, b.limit, do, bare)
		if err != nil {
			return err
		}
		found := func(name string, value float64) { b.found(name, value, how, b.set.turns, b.set.sample) }
		switch callers {
		case 1:
			found(doP50, ratio(all[1], all[2], p50))
		case 64:
			found(do64R, ratio(all[1], all[0], rate))
			found(do64Eval, ratio(all[1], all[2], rate))
		case 256:
			found(do256R, ratio(all[1], all[0], rate))
			found(do256Eval, ratio(all[1], all[2], rate))
			found(do256CPU, ratio(all[1], all[0], serverCPU))
			b.found(do256Allocs, all[1].median().Allocs, "all of the process, by runtime.MemStats; median of %d turns", b.set.turns)
			if err := b.costs(do); err != nil {
				return err
			}
		case 1024:
			found(do1024R, ratio(all[1], all[0], rate))
		}
	}
	return nil
}

// costs notes what the server's commands cost under a way, and profiles the
// client if that is asked for.
func (b *bench) costs(w *way) error {
	messages := 200_000 / b.set.shrink
	if b.set.profile != "" {
		messages *= 5 // a profile takes 100 samples a second
	}
	if err := errors.Join(w.prepare(), w.server.resetCommands()); err != nil {
		return err
	}
	if err := b.profiled(func() error { return b.fill(w, messages) }); err != nil {
		return err
	}
	var err error
	b.report.Commands, err = w.server.commands(messages)
	return err
}
