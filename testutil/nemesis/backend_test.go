//go:build linux

package nemesis_test

import (
	"context"
	"testing"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

func TestBucketOutlivesItsServer(t *testing.T) {
	t.Parallel()
	w := plan(100, 1, nemesis.P7)
	w.Lease = 300 * time.Millisecond // which what is on its way waits for some times
	r := carryOut(t, nemesis.Trial{Fault: "F7", Name: "restart", Backend: nemesis.NATSClaims, Orders: 100, Paced: true, Worker: w, Hit: restart})
	for _, h := range r.HitsAt(nemesis.P7) {
		if n := r.EffectsOf(h.Order); n != 1 {
			t.Errorf("%s, struck at %s, has %d effects, want 1", h.Order, h.Point, n)
		}
	}
}

// The reply to a write is told from those that share its connection.
func TestClaimInABucketWhoseReplyIsLostIsLeftToItsLease(t *testing.T) {
	t.Parallel()
	r := carryOut(t, nemesis.Trial{
		Fault: "F1", Name: "kill", Backend: nemesis.NATSClaims, Orders: 200, Worker: plan(200, 2, nemesis.P2), Hit: answer(nemesis.Kill),
	})
	if r.Kills != 2 || r.Expiries < 2 {
		t.Errorf("%d kills, %d leases ran out; want 2, at least 2: the claims were executed", r.Kills, r.Expiries)
	}
}

func TestInboxHasOneEffectWhateverDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		hit    func(*nemesis.World, nemesis.Hit) nemesis.Action
		points []nemesis.Point
		paced  bool
	}{
		{"worker", answer(nemesis.Kill), []nemesis.Point{nemesis.P2, nemesis.P5, nemesis.AtCommit, nemesis.P6}, false},
		{"connection", answer(nemesis.Reset), []nemesis.Point{nemesis.P2, nemesis.P5, nemesis.AtCommit, nemesis.P6}, false},
		{"server", restart, []nemesis.Point{nemesis.P5, nemesis.P6}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := carryOut(t, nemesis.Trial{
				Fault: "F1", Name: c.name, Backend: nemesis.PostgresInbox, Orders: 200, Paced: c.paced, CopyEach: 10, Copies: 1,
				Worker: plan(200, len(c.points), c.points...), Hit: c.hit,
			})
			if r.Effects != r.Orders || r.Doubled() != 0 || r.Lost != 0 {
				t.Errorf("%d effects of %d orders, %d second ones, %d lost", r.Effects, r.Orders, r.Doubled(), r.Lost)
			}
		})
	}
}

// The judge must see a second row.
func TestEffectOutsideOfTheInboxDoubles(t *testing.T) {
	t.Parallel()
	w := plan(100, 1, nemesis.P5)
	w.Mode = nemesis.ModeApart
	r := carryOut(t, nemesis.Trial{
		Fault: "F1", Name: "apart", Backend: nemesis.PostgresInbox, Orders: 100, Worker: w, Hit: answer(nemesis.Kill),
	})
	if r.Doubled() == 0 {
		t.Error("no order has two effects, though its record and its effect are in two transactions")
	}
}

// restart kills the server of the backend and starts it again.
func restart(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
	again := w.KillBackend()
	w.Disturb(func(context.Context) error { return again() })
	return nemesis.GoOn
}
