package crashkit_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// helper is set in a process of its own, for handlers that leave goroutines
// behind.
const helper = "CRASHKIT_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helper) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// effect is how a handler of the tests calls an effect.
type effect func(ctx context.Context, e *crashkit.Effects, name string) error

func plain(ctx context.Context, e *crashkit.Effects, name string) error { return e.Happen(ctx, name) }

func keyed(ctx context.Context, e *crashkit.Effects, name string) error {
	return e.HappenOnce(ctx, name, dedupe.ChildKey(ctx, name))
}

func fenced(ctx context.Context, e *crashkit.Effects, name string) error {
	return e.HappenFenced(ctx, name, dedupe.FenceFrom(ctx))
}

// explore explores a handler that calls one effect, "charge".
func explore(t *testing.T, charge effect, o *crashkit.Options) *crashkit.Report {
	t.Helper()
	e := crashkit.NewEffects()
	return crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error { return charge(ctx, e, "charge") }, e, o)
}

// kinds returns the kinds of findings about an effect.
func kinds(r *crashkit.Report, effect string, fails bool) (all []crashkit.Kind) {
	for _, f := range r.Findings {
		if f.Effect == effect && f.Fails == fails {
			all = append(all, f.Kind)
		}
	}
	return all
}

func expectKinds(t *testing.T, r *crashkit.Report, effect string, fails bool, want ...crashkit.Kind) {
	t.Helper()
	if got := kinds(r, effect, fails); !slices.Equal(got, want) {
		t.Errorf("findings about %q that fail=%v are %q, want %q\n%v", effect, fails, got, want, r)
	}
}
