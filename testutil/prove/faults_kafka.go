//go:build linux

package main

import "github.com/oncebus/once/testutil/nemesis"

// rebalances are trials on Kafka, whose partitions go from worker to worker.
func (s scale) rebalances() []experiment {
	on := func(t *nemesis.Trial) { t.Kafka = true }
	leaving := false
	// Who is told to end leaves the group in order. Who is killed is missed when its
	// session is over. Both are replaced at once.
	storm := s.trial("F15", "rebalance storm", func(*nemesis.World, nemesis.Hit) nemesis.Action {
		if leaving = !leaving; leaving {
			return nemesis.Term
		}
		return nemesis.Kill
	}, p4, p5, p7).with(on).struckOnce(p7).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Kills == 0 || r.Exits == r.Kills {
			say("%d workers were killed and %d left", r.Kills, r.Exits-r.Kills)
		}
	})
	// Who stands still for longer than its session comes back to partitions that are
	// others', with handlers at work and offsets to commit.
	s.orders = min(s.orders, 6000)
	session := s.paced("F15", "session timeout", do(nemesis.Stop), p4, p5, p7).with(on).struckOnce(p7)
	return []experiment{storm, session}
}
