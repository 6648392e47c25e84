//go:build linux

package main

import (
	"context"
	"errors"
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
	all = append(all, s.newShard())
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

// newShard gives a sixteenth of a cluster's slots to a node that has none and knows
// no script, some at each hit, with the slot of the order that was hit. For a
// while they are on their way, so that claims meet ASK, and then MOVED.
func (s scale) newShard() experiment {
	part, parts := 0, 3*s.few
	return s.paced("F13", "new shard", func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		move, err := w.BeginMove(part, parts, h.Order)
		part++
		w.Disturb(func(context.Context) error {
			if err != nil {
				return err
			}
			// Copies of the order and orders of the trickle come meanwhile.
			err = w.Publish(h.Order, h.Order)
			w.Pass(lease / 2)
			return errors.Join(err, move.Finish())
		})
		return nemesis.GoOn
	}, p0, p4, p6).with(func(t *nemesis.Trial) {
		t.Nodes, t.Spare, t.Worker.Plan.Early = 3, true, true
		t.Worker.Slow = lease * 3 / 4
	}).expecting(func(w *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		// A claim whose answer came too late for its caller may be left to its lease:
		// nobody ran under it, so that is no lost lease.
		if n := r.Workers.Dedupe.LeasesLost; n > 0 || r.Doubled() > 0 {
			say("%d leases were lost, %d second executions", n, r.Doubled())
		}
		if n := w.Spare.Info("commandstats", "cmdstat_asking:calls="); n < int64(r.Hits[p0]+r.Hits[p4]+r.Hits[p6]) {
			say("%d commands were redirected by ASK", n)
		}
		if w.Spare.Info("errorstats", "errorstat_NOSCRIPT:count=") == 0 {
			say("the new shard knew the script")
		}
	})
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
	all = append(all, refuse, newMaster)
	// Sentinel takes some seconds, in which leases end.
	sentinel := func(name string, hit func(*nemesis.World, nemesis.Hit) nemesis.Action, at nemesis.Point, hits int) experiment {
		return base("Sentinel, "+name+" "+string(at), hit, at, hits).with(func(t *nemesis.Trial) {
			t.Replica, t.Links, t.Sentinel = false, false, true
		}).expecting(func(w *nemesis.World, _ *nemesis.Result, say func(string, ...any)) {
			if w.Store != w.Standby {
				say("the sentinels promoted nobody")
			}
		})
	}
	for _, p := range points(p3, p7) {
		all = append(all, sentinel("killed", promoted(), p, 2), sentinel("cut off", deposed, p, 1))
	}
	return all
}

// promoted cuts the replica off at the first hit, kills the primary at the second,
// and publishes again what only that one knew when Sentinel has promoted the
// replica.
func promoted() func(*nemesis.World, nemesis.Hit) nemesis.Action {
	frozen := ""
	return func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		switch {
		case frozen == "":
			frozen = h.Order
			w.ReplicaLink.FreezeOnly(nemesis.ReplicaHost)
		case w.Store != w.Standby:
			w.Store.Kill()
			w.Lost()
			w.Disturb(func(context.Context) error {
				err := w.AwaitPromotion()
				w.ReplicaLink.Cut(true)
				return errors.Join(err, w.Publish(between(frozen, h.Order, 50)...))
			})
		}
		return nemesis.GoOn
	}
}

// deposed cuts the primary off from everybody, and lets it come back with what
// it was sent when Sentinel has promoted the replica.
func deposed(w *nemesis.World, h nemesis.Hit) nemesis.Action {
	if w.Store == w.Standby {
		return nemesis.GoOn
	}
	w.ReplicaLink.Freeze()
	w.Lost()
	w.Disturb(func(context.Context) error {
		err := w.AwaitPromotion()
		w.ReplicaLink.Thaw()
		w.Pass(lease) // late commands reach it, and it still takes itself for the primary
		w.Lost()
		return errors.Join(err, w.Publish(h.Order))
	})
	return nemesis.GoOn
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
