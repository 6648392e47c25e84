package crashkit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// doublesUnguarded are the scenarios in which the effect of a handler that does
// all else right happens twice when nothing guards it: each has a cause that
// docs/guarantees.md names, or the handler failed after its effect.
var doublesUnguarded = []string{
	"p4 crash after charge",
	"p5 crash before the commit is sent",
	"p5 crash, the commit arrives after a takeover",
	"p4 stands still with charge on its way",
	"p4 stands still with charge on its way, and goes on while the other runs",
	"p4 stands still after charge",
	"p5 stands still before the commit is sent",
	"charge fails, and did happen",
	"panic after charge",
	"Goexit after charge",
	"charge hangs beyond MaxRun, and did happen",
	"cut off from the store at the commit",
	"store forgets while the handler runs, and the message comes again",
	"store forgets after the commit, and the ack is lost",
}

func TestUnguardedEffectDoublesAtTheDocumentedPointsAlone(t *testing.T) {
	r := explore(t, plain, nil)
	if got := r.Doubled("charge"); !slices.Equal(got, doublesUnguarded) {
		t.Errorf("doubled in\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(doublesUnguarded, "\n"))
	}
	expectKinds(t, r, "charge", true, crashkit.KindDoubled)
	expectKinds(t, r, "charge", false)
	expectSound(t, r)
	for _, row := range r.Rows {
		if n := row.Counts[0].Happened; n != 1 && n != 2 || n == 2 && row.Cause == "" {
			t.Errorf("%s: %d effects, cause %q", row.Title(), n, row.Cause)
		}
	}
}

// expectSound fails the test unless all scenarios found what they were to
// strike, ended in an ack, and kept every promise of Once.
func expectSound(t *testing.T, r *crashkit.Report) {
	t.Helper()
	for _, row := range r.Rows {
		if !row.Struck || row.Hung || row.Broken != "" || row.Settled != bus.ActionAck || row.Runs < 1 || row.Deliveries < 1 {
			t.Errorf("%s: %+v", row.Title(), row)
		}
	}
}

func TestGuardedEffectsPassEverywhere(t *testing.T) {
	for name, charge := range map[string]effect{"keyed": keyed, "fenced": fenced} {
		r := explore(t, charge, nil)
		if !r.OK() || r.Doubled("charge") != nil || r.Lost("charge") != nil {
			t.Errorf("%s:\n%v", name, r)
		}
		expectSound(t, r)
		for _, row := range r.Rows {
			if row.Counts[0].Happened != 1 {
				t.Errorf("%s: %s: %d effects", name, row.Title(), row.Counts[0].Happened)
			}
		}
	}
}

// A second run is what a guard has to do with: where the unguarded effect
// doubles, the keyed one is absorbed, and the fenced one refused or set again.
func TestGuardsShowWhatTheyDid(t *testing.T) {
	k, f := explore(t, keyed, nil), explore(t, fenced, nil)
	for i, row := range k.Rows {
		second := slices.Contains(doublesUnguarded, row.Title())
		if absorbed := row.Counts[0].Absorbed > 0; absorbed != second {
			t.Errorf("%s: absorbed %d keys", row.Title(), row.Counts[0].Absorbed)
		}
		if c := f.Rows[i].Counts[0]; c.Refused+c.Replaced > 0 != second {
			t.Errorf("%s: refused %d and replaced %d values", row.Title(), c.Refused, c.Replaced)
		}
	}
	stale := slices.IndexFunc(f.Rows, func(r crashkit.Row) bool { return r.Title() == "p4 stands still with charge on its way" })
	if c := f.Rows[stale].Counts[0]; c.Refused != 1 || c.Replaced != 0 {
		t.Errorf("a stale owner's write: %+v, want it refused", c)
	}
	expectKinds(t, f, "charge", false, crashkit.KindReplaced)
}

func TestUnusableGuardsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		charge effect
		want   crashkit.Kind
		says   string
	}{
		"a key that changes with every run": {func(ctx context.Context, e *crashkit.Effects, name string) error {
			return e.HappenOnce(ctx, name, strings.Repeat("x", dedupe.AttemptFrom(ctx)))
		}, crashkit.KindKey, "not stable"},
		"an empty key": {func(ctx context.Context, e *crashkit.Effects, name string) error {
			return e.HappenOnce(ctx, name, "")
		}, crashkit.KindKey, "empty"},
		"a fence that stays": {func(ctx context.Context, e *crashkit.Effects, name string) error {
			return e.HappenFenced(ctx, name, 7)
		}, crashkit.KindFence, "same fence"},
		"a fence of zero": {func(ctx context.Context, e *crashkit.Effects, name string) error {
			return e.HappenFenced(ctx, name, dedupe.FenceFrom(context.WithoutCancel(context.Background())))
		}, crashkit.KindFence, "is 0"},
	} {
		r := explore(t, c.charge, nil)
		expectKinds(t, r, "charge", true, c.want)
		if !strings.Contains(r.Findings[0].What, c.says) || !strings.Contains(r.Findings[0].Do, "dedupe.") {
			t.Errorf("%s: found %q, do %q", name, r.Findings[0].What, r.Findings[0].Do)
		}
	}
}

func TestSeveralGuardsOfOneEffectAreMixed(t *testing.T) {
	e := crashkit.NewEffects()
	r := crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error {
		return errors.Join(e.HappenOnce(ctx, "charge", "key"), e.Happen(ctx, "charge"))
	}, e, nil)
	if k := r.Effects[0]; k.Guard != crashkit.Mixed || k.Wanted != 2 {
		t.Errorf("the effect is %+v", k)
	}
	expectKinds(t, r, "charge", true, crashkit.KindDoubled)
}
