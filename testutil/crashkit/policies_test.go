package crashkit_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// Whatever the times are set to, a guarded effect happens once, every message is
// acknowledged, and an unguarded effect doubles where it always does.
func TestTimesDoNotMatter(t *testing.T) {
	for _, c := range []struct{ lease, ackWait, maxRun time.Duration }{
		{time.Second, 5 * time.Second, 10 * time.Second},
		{30 * time.Second, 20 * time.Minute, 5 * time.Minute},
		{5 * time.Minute, 10 * time.Second, 6 * time.Minute},
	} {
		o := &crashkit.Options{AckWait: c.ackWait, Dedupe: &dedupe.Options{Lease: c.lease, Margin: c.lease / 2, MaxRun: c.maxRun}}
		if r := explore(t, keyed, o); !r.OK() {
			t.Errorf("%+v:\n%v", c, r)
		}
		if got := explore(t, plain, o).Doubled("charge"); !slices.Equal(got, doublesUnguarded) {
			t.Errorf("%+v: an unguarded effect doubles in %q", c, got)
		}
	}
}

// Batches are no part of the kit, but they take the same steps: a batch of one is
// struck at the same moments, and doubles at the same points.
func TestBatchOfOneIsNoDifferent(t *testing.T) {
	o := &crashkit.Options{}
	o.Wrap(func(store claim.Store) (bus.Middleware, func(context.Context) error, error) {
		d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", CommitTimeout: 15 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, nil, err
		}
		return func(h bus.Handler) bus.Handler {
			batch := d.WrapBatch(func(ctx context.Context, ms []*bus.Message) []error {
				return []error{h(dedupe.ForMessage(ctx, ms[0]), ms[0])}
			})
			return func(ctx context.Context, m *bus.Message) error { return batch(ctx, []*bus.Message{m})[0] }
		}, d.Close, nil
	})
	r := explore(t, plain, o)
	if got := r.Doubled("charge"); !slices.Equal(got, doublesUnguarded) {
		t.Errorf("doubled in\n%s", strings.Join(got, "\n"))
	}
	expectSound(t, r)
	if r := explore(t, keyed, o); !r.OK() {
		t.Errorf("\n%v", r)
	}
}

func TestPolicies(t *testing.T) {
	const crash, cutOff = "p5 crash before the commit is sent", "cut off from the store at the commit"
	for _, c := range []struct {
		name  string
		o     dedupe.Options
		title string
		want  crashkit.Row // Settled, Runs and Cause are compared, and one Count
	}{
		{"the defaults", dedupe.Options{}, crash,
			crashkit.Row{Settled: bus.ActionAck, Runs: 2, Counts: []crashkit.Count{{Happened: 2}}}},
		{"parked", dedupe.Options{Takeover: claim.Park}, crash,
			crashkit.Row{Settled: bus.ActionReject, Runs: 1, Counts: []crashkit.Count{{Happened: 1}}}},
		{"one attempt", dedupe.Options{MaxAttempts: 1}, crash,
			crashkit.Row{Settled: bus.ActionReject, Runs: 1, Counts: []crashkit.Count{{Happened: 1}}}},
		{"acknowledged anyway", dedupe.Options{CommitUnknown: dedupe.AckAnyway}, cutOff,
			crashkit.Row{Settled: bus.ActionAck, Runs: 1, Counts: []crashkit.Count{{Happened: 1}}}},
		{"fail open", dedupe.Options{StoreDown: dedupe.FailOpen}, "store down when the message comes",
			crashkit.Row{Settled: bus.ActionAck, Runs: 2, Counts: []crashkit.Count{{Happened: 2}}}},
		{"no memory", dedupe.Options{MemorySize: dedupe.Off, LocalWait: dedupe.Off}, "delivered again after the ack",
			crashkit.Row{Settled: bus.ActionAck, Runs: 1, Counts: []crashkit.Count{{Happened: 1}}}},
		{"by position", dedupe.Options{Key: dedupe.ByPosition}, "delivered again after the ack",
			crashkit.Row{Settled: bus.ActionAck, Runs: 1, Counts: []crashkit.Count{{Happened: 1}}}},
	} {
		r := explore(t, plain, &crashkit.Options{Dedupe: &c.o})
		got := row(t, r, c.title)
		if got.Settled != c.want.Settled || got.Runs != c.want.Runs || got.Counts[0].Happened != c.want.Counts[0].Happened {
			t.Errorf("%s: %s: %+v, want %+v", c.name, c.title, got, c.want)
		}
		for _, row := range r.Rows {
			if row.Broken != "" || row.Hung || row.Settled == 0 || row.Counts[0].Doubled() && row.Cause == "" {
				t.Errorf("%s: %s: %+v", c.name, row.Title(), row)
			}
		}
	}
}
