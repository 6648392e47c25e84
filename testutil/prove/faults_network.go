//go:build linux

package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

// cutOff returns a fault that cuts the struck worker off for a while, by a
// network that swallows everything and by one that refuses, in turn.
func cutOff(link func(*nemesis.Slot) *nemesis.Link, d time.Duration) func(*nemesis.World, nemesis.Hit) nemesis.Action {
	refuse := false
	return func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		slot := w.SlotOf(h)
		if slot == nil {
			return nemesis.GoOn
		}
		l := link(slot)
		if refuse = !refuse; refuse {
			l.Cut(true)
		} else {
			l.Freeze()
		}
		w.Disturb(func(context.Context) error {
			w.Pass(d)
			l.Cut(false)
			l.Thaw()
			return nil
		})
		return nemesis.GoOn
	}
}

// networks are trials in which a worker, or the bus, is out of reach.
func (s scale) networks() []experiment {
	store := func(slot *nemesis.Slot) *nemesis.Link { return slot.StoreLink }
	busLink := func(slot *nemesis.Slot) *nemesis.Link { return slot.BusLink }
	links := func(t *nemesis.Trial) { t.Links = true }
	fromStore := s.paced("F9", "cut off from the store", cutOff(store, 2*lease), every...).with(links).with(func(t *nemesis.Trial) {
		t.Worker.Plan.Early = true
	}).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Circuits == 0 || r.Recovered == 0 {
			say("the circuit opened %d times and closed %d times", r.Circuits, r.Recovered)
		}
		if r.Workers.Dedupe.StoreDown == 0 {
			say("no message was retried for the store")
		}
	})
	all := []experiment{fromStore}
	for _, p := range points(p4, p7, p8) {
		all = append(all, s.paced("F10", "cut off from the bus "+string(p), cutOff(busLink, 2*lease), p).with(links).struckOnce(p))
	}
	for _, p := range points(p4, p7, p8) {
		all = append(all, s.paced("F14", "bus killed "+string(p), func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
			w.Bus.Kill()
			w.Disturb(func(context.Context) error {
				w.Pass(lease / 5)
				return w.Bus.Restart()
			})
			return nemesis.GoOn
		}, p).struckOnce(p))
	}
	return all
}

// clocks are trials in which the store's clock is stepped.
func (s scale) clocks() (all []experiment) {
	for _, p := range points(p4, p7) {
		for _, d := range []time.Duration{lease, -lease, time.Hour, -time.Hour} {
			all = append(all, s.paced("F11", d.String()+" "+string(p), func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
				err := w.Clock.Step(d)
				w.Stepped()
				w.Disturb(func(context.Context) error {
					// A copy at another worker finds the claim at its age by the new clock.
					// As many as there are handlers, for one worker may be sent the first.
					err = errors.Join(err, w.Publish(slices.Repeat([]string{h.Order}, 24)...))
					w.Pass(lease)
					w.Stepped() // what it may excuse ends
					return err
				})
				return nemesis.GoOn
			}, p).with(func(t *nemesis.Trial) {
				t.Clock, t.Steps, t.Worker.Slow = true, true, lease/2
				t.Limit = time.Minute // what waits for the clock would wait for an hour
				if p == p7 {
					t.Worker.Slow = 0
				}
			}).expecting(func(w *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
				if p == p4 && d > 0 && r.Expiries == 0 {
					say("no lease ran out by the new clock")
				}
				// Messages come all the time, so that every worker hears of every step.
				if want := int64(r.Hits[p] * w.Trial.Workers); r.Workers.Steps != want {
					say("%d steps were reported, want %d: each by every worker", r.Workers.Steps, want)
				}
			}))
		}
	}
	return all
}
