//go:build linux

package main

import (
	"context"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

// processes are trials without a fault, and those in which workers are killed,
// stopped or told to end.
func (s scale) processes() []experiment {
	quiet := s.trial(noFault, "no fault", nil)
	quiet.CopyEach = 10
	all := []experiment{quiet.once().expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Effects != r.Orders {
			say("%d effects of %d orders", r.Effects, r.Orders)
		}
	})}
	for _, p := range every {
		all = append(all, s.kill(p))
	}
	for _, p := range points(p3, p4, p5, p7) {
		all = append(all, s.stop(p))
	}
	end := s.trial("F16", "SIGTERM", do(nemesis.Term), every...).once().expecting(noKills)
	deadline := s.trial("F16", "deadline", do(nemesis.Term), p4).expecting(noKills).with(func(t *nemesis.Trial) {
		t.Worker.Drain, t.Worker.Slow = 100*time.Millisecond, 2*lease
	})
	deadline.Worker.Plan.Stride = max(2, s.orders/4)
	deadline.Worker.Plan.Offset %= deadline.Worker.Plan.Stride
	return append(all, end, deadline)
}

func noKills(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
	if r.Kills > 0 {
		say("%d workers had to be killed", r.Kills)
	}
	if r.Exits == 0 {
		say("no worker ended")
	}
}

func (s scale) kill(p nemesis.Point) experiment {
	e := s.trial("F1", "kill "+string(p), do(nemesis.Kill), p)
	if p >= p6 {
		e = e.struckOnce(p)
	}
	return e.expecting(takenOver)
}

func killed(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
	if r.Kills == 0 {
		say("no worker was killed")
	}
}

// takenOver expects that workers were killed, and how soon others had their work.
func takenOver(w *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
	killed(w, r, say)
	// A redelivery that finds the lease alive waits for its end and a quarter
	// more, so that those who wait do not come together.
	limit := lease + lease/4 + time.Second + slack
	if longest := nemesis.Percentile(r.Takeovers, 1); longest > limit {
		say("a takeover took %v, want at most lease + redelivery, %v", longest, limit)
	}
}

func (s scale) stop(p nemesis.Point) experiment {
	s.orders, s.few = min(s.orders, 6000), s.few+1 // each order has a file in the sink
	e := s.paced("F2", "stop "+string(p), do(nemesis.Stop), p).with(func(t *nemesis.Trial) {
		t.Worker.Fenced, t.Workers = true, 4
	})
	if p != p5 { // there, the effect came before the stop
		e = e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
			single := 0
			for _, h := range r.HitsAt(p) {
				if r.AcceptedOf(h.Order) == 1 {
					single++
				}
			}
			// An owner whose lease is over may still write before its successor does:
			// a sink that checks fences takes both, in that order.
			if single < mostOf(r.Hits[p]) {
				say("the sink accepted one write of %d of %d orders", single, r.Hits[p])
			}
		})
	}
	return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		// Not every stopped worker is superseded: the bus goes on sending to it for a
		// while, and what nobody took it may commit late.
		switch most := mostOf(r.Hits[p]); {
		case p == p7:
		case r.Expiries < most:
			say("%d takeovers of %d stopped workers", r.Expiries, r.Hits[p])
		case (p == p4 || p == p5) && r.Workers.Dedupe.LostCommits < int64(most):
			say("%d stale commits were refused, want at least %d", r.Workers.Dedupe.LostCommits, most)
		}
	})
}

// mostOf returns three quarters of n.
func mostOf(n int) int { return n - n/4 }

// handlers are trials in which the handler misbehaves.
func (s scale) handlers() []experiment {
	lives := func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Exits > 0 {
			say("%d workers ended", r.Exits)
		}
		if want := int64(r.Hits[p4] + r.Hits[p5]); r.Workers.Dedupe.Panicked != want {
			say("%d panics were counted, want %d", r.Workers.Dedupe.Panicked, want)
		}
	}
	slow := s.paced("F18", "slow commands, small pool", func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		w.Disturb(func(context.Context) error {
			for range 5 {
				if err := w.Store.Do("debug", "sleep", "0.1"); err != nil {
					return err
				}
			}
			return nil
		})
		return nemesis.GoOn
	}, p0, p4, p6).with(func(t *nemesis.Trial) {
		t.Worker.PoolSize, t.Worker.Handlers = 2, 16
		t.Worker.Slow = lease * 3 / 2
		t.Worker.Plan.Early = true
	}).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		// A claim whose answer came too late for its caller may be left to its lease:
		// nobody ran under it, so that is no lost lease.
		if n := r.Workers.Dedupe.LeasesLost; n > 0 || r.Doubled() > 0 {
			say("%d leases were lost, %d second executions", n, r.Doubled())
		}
	})
	return []experiment{
		s.trial("F17", "panic", do(nemesis.Panic), p4, p5).expecting(lives).struckOnce(p4),
		s.trial("F17", "Goexit", do(nemesis.Goexit), p4, p5).expecting(lives).struckOnce(p4),
		slow,
	}
}
