//go:build linux

package main

import (
	"context"

	"github.com/oncebus/once/testutil/nemesis"
)

// buckets are trials whose claims are in a NATS key-value bucket.
func (s scale) buckets() []experiment {
	on := func(t *nemesis.Trial) { t.Backend = onNATS }
	kill := s.trial("F1", "kill, NATS KV", do(nemesis.Kill), every...).with(on).struckOnce(p6, p7, p8).expecting(takenOver)
	// What was lost with the connection is sent again after half a second. On a busy
	// machine a lease of a second may be over then.
	reset := s.trial("F3", "reset, NATS KV", do(nemesis.Reset), p1, p2, p6).with(on)
	restart := s.paced("F7", "restart, NATS KV", restartBackend, p3, p4, p7).with(on).struckOnce(p7)
	return []experiment{kill, reset, restart}
}

// inboxes are trials whose orders are handled in transactions of PostgreSQL, in
// which their effects are too.
func (s scale) inboxes() []experiment {
	in := func(t *nemesis.Trial) { t.Backend = inInbox }
	kill := s.trial("F1", "kill, inbox", do(nemesis.Kill), append(points(inCommit), every...)...).with(in).expecting(killed)
	// P3 to P5 are in the middle of the transaction.
	reset := s.trial("F3", "reset, inbox", do(nemesis.Reset), p1, p2, p3, p4, p5, inCommit, p6).with(in)
	restart := s.paced("F7", "restart, inbox", restartBackend, p2, p4, inCommit, p6, p7).with(in)
	return []experiment{kill.singular(), reset.singular(), restart.singular()}
}

// singular expects one effect of each order.
func (e experiment) singular() experiment {
	return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Effects != r.Orders || r.Doubled() > 0 {
			say("%d effects of %d orders, %d of them second ones", r.Effects, r.Orders, r.Doubled())
		}
	})
}

// restartBackend kills the server that has the records, and starts it again.
func restartBackend(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
	restart := w.KillBackend()
	w.Disturb(func(context.Context) error {
		w.Pass(lease / 5)
		err := restart()
		w.Pass(lease / 5)
		return err
	})
	return nemesis.GoOn
}
