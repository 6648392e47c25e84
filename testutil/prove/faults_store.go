//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

// replies are trials in which one exchange with the store is spoiled.
func (s scale) replies() (all []experiment) {
	for _, p := range points(p1, p2, p6) {
		all = append(all, s.trial("F3", "reset "+string(p), do(nemesis.Reset), p).once())
	}
	for _, p := range points(p2, p6, nemesis.AtExtend, nemesis.AtRelease) {
		e := s.trial("F4", "reply lost "+string(p), do(nemesis.Drop), p).once()
		switch p {
		case nemesis.AtExtend:
			e.Worker.Slow = lease * 3 / 2
		case nemesis.AtRelease:
			e.Worker.FailFirst = true
		}
		all = append(all, e)
	}
	return all
}

// slowness are trials in which the way to the store is slow.
func (s scale) slowness() []experiment {
	punctual := func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		// A machine with more processes than cores lets a call wait now and then; a
		// client that does not heed deadlines is late whenever the store is, and by
		// its own timeouts: half a second, four times over.
		w := &r.Workers
		if w.Late*200 > w.Calls || w.Overshoot > 2*lease {
			say("%d of %d calls outlived their deadline by more than %v, one by %v", w.Late, w.Calls, nemesis.LateBy, w.Overshoot)
		}
	}
	above := s.paced("F5", "above the timeout", func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		delay := func(d, jitter time.Duration) {
			for _, slot := range w.Slots {
				slot.StoreLink.Delay(d, jitter)
			}
		}
		delay(lease/4, lease/4)
		w.Disturb(func(context.Context) error {
			w.Pass(lease * 3 / 2)
			delay(0, 0)
			return nil
		})
		return nemesis.GoOn
	}, every...).with(func(t *nemesis.Trial) { t.Links, t.Worker.Plan.Early = true, true }).expecting(punctual)
	jitter := s.trial("F5", "jitter", nil).with(func(t *nemesis.Trial) {
		t.Links, t.Points, t.Orders = true, every, max(500, t.Orders/10)
		t.LinkDelay = lease / 50
	}).expecting(punctual).once()
	return []experiment{above, jitter}
}

// stores are trials in which the store stops, dies, or forgets its scripts.
func (s scale) stores() (all []experiment) {
	for _, p := range points(p1, p4, p6) {
		all = append(all, s.pause(p, "short", lease*3/10), s.pause(p, "long", lease*5/2))
	}
	for _, persistence := range []string{"none", "everysec", "always"} {
		for _, p := range points(p3, p4, p7) {
			all = append(all, s.restart(p, persistence))
		}
	}
	flush := func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		servers := w.Nodes
		if servers == nil {
			servers = []*nemesis.Redis{w.Store}
		}
		w.Disturb(func(context.Context) error { return nil }) // counts as one fault at a time
		for _, server := range servers {
			if err := server.Do("script", "flush"); err != nil {
				w.Disturb(func(context.Context) error { return err })
			}
		}
		return nemesis.GoOn
	}
	early := func(t *nemesis.Trial) { t.Worker.Plan.Early = true }
	cluster := s.trial("F13", "SCRIPT FLUSH, cluster", flush, p0, p4, p6).with(early).with(func(t *nemesis.Trial) { t.Nodes = 3 })
	return append(all, s.trial("F13", "SCRIPT FLUSH", flush, p0, p4, p6).with(early).once(), cluster.once())
}

func (s scale) pause(p nemesis.Point, name string, d time.Duration) experiment {
	e := s.paced("F6", name+" "+string(p), func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		err := w.Store.Pause()
		w.Disturb(func(context.Context) error {
			w.Pass(d)
			w.Store.Resume()
			return err
		})
		return nemesis.GoOn
	}, p).with(func(t *nemesis.Trial) { t.Worker.Plan.Early = true })
	if p == p4 {
		e.Worker.Slow = lease * 2
	}
	if d < lease {
		return e.once()
	}
	return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if p == p4 && r.Workers.Dedupe.LeasesLost == 0 {
			say("no handler was cancelled")
		}
	})
}

func (s scale) restart(p nemesis.Point, persistence string) experiment {
	e := s.paced("F7", persistence+" "+string(p), func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		w.Lost()
		w.Store.Kill()
		w.Disturb(func(context.Context) error {
			err := w.Store.Restart()
			w.Lost()
			w.Pass(lease / 5)
			return err
		})
		return nemesis.GoOn
	}, p)
	if persistence != "none" {
		e.StoreArgs = []string{"--appendonly", "yes", "--appendfsync", persistence}
	}
	if persistence == "always" {
		return e.struckOnce(p)
	}
	// With everysec Redis keeps writes to itself while an fsync is under way, for
	// up to two seconds, and a kill takes them along.
	e.Forgets, e.Unpersisted = true, true
	return e
}

// failover are trials with a primary and a replica.
func (s scale) failover() []experiment {
	base := func(name string, hit func(*nemesis.World, nemesis.Hit) nemesis.Action, at nemesis.Point, hits int) experiment {
		s := s
		s.few = hits
		return s.paced("F8", name, hit, at).with(func(t *nemesis.Trial) {
			t.Replica, t.Links, t.Forgets, t.Unpersisted = true, true, true, true
		})
	}
	var all []experiment
	for _, p := range points(p3, p7) {
		all = append(all, base("frozen link "+string(p), lateFailover(), p, 2))
	}
	refuse := base("WAIT "+string(p3), func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		w.ReplicaLink.Freeze()
		w.Disturb(func(context.Context) error {
			w.Pass(2 * lease)
			w.ReplicaLink.Thaw()
			return nil
		})
		return nemesis.GoOn
	}, p3, 1).with(func(t *nemesis.Trial) {
		t.Worker.WaitReplicas = 1
		t.Orders = max(500, t.Orders/4)
		t.Worker.Plan.Stride = t.Orders
		t.Worker.Plan.Offset %= t.Orders
	}).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Workers.Unknown == 0 || r.Workers.Dedupe.StoreDown == 0 {
			say("no claim was refused while the replica was cut off")
		}
	})
	inSync := func() func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		return func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
			w.Disturb(func(context.Context) error { w.Pass(lease / 5); return nil })
			if err := w.FailOver(); err != nil {
				w.Disturb(func(context.Context) error { return err })
			}
			return nemesis.GoOn
		}
	}
	newMaster := base("new master", inSync(), p4, 1)
	newMaster.Fault = "F13"
	return append(all, refuse, newMaster)
}

// lateFailover cuts the replica off at the first hit, and at the second kills
// the primary and publishes again what only that one knew.
func lateFailover() func(*nemesis.World, nemesis.Hit) nemesis.Action {
	frozen := ""
	return func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		if frozen == "" {
			frozen = h.Order
			w.ReplicaLink.Freeze()
			return nemesis.GoOn
		}
		err := w.FailOver()
		w.Disturb(func(context.Context) error {
			if err != nil {
				return err
			}
			w.ReplicaLink.Cut(true)
			return w.Publish(between(frozen, h.Order, 50)...)
		})
		return nemesis.GoOn
	}
}

// between returns up to n orders after the first and before the last.
func between(first, last string, n int) []string {
	var from, to int
	_, _ = fmt.Sscanf(first, "o-%d", &from) // they are orders
	_, _ = fmt.Sscanf(last, "o-%d", &to)
	var ids []string
	for i := max(from+1, to-n); i < to; i++ {
		ids = append(ids, nemesis.OrderID(i))
	}
	slices.Reverse(ids)
	return ids
}
