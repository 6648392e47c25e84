package crashkit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/crashkit"
)

// recorder stands in for a test that is meant to fail.
type recorder struct{ logs, errors []string }

func (*recorder) Helper() {}
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestRunFailsForWhatIsNotTolerated(t *testing.T) {
	e := crashkit.NewEffects()
	e.Tolerate("mail")
	r := crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error {
		return errors.Join(plain(ctx, e, "charge"), plain(ctx, e, "mail"))
	}, e, nil)
	rec := &recorder{}
	crashkit.Tell(rec, r)
	if len(rec.logs) != 1 || !strings.Contains(rec.logs[0], "doubled mail (tolerated)") || !strings.Contains(rec.logs[0], "DOUBLED charge") {
		t.Errorf("logged %q, want the report", rec.logs)
	}
	if len(rec.errors) != 1 || !strings.Contains(rec.errors[0], `"charge" (unguarded)`) || !strings.Contains(rec.errors[0], "ChildKey") {
		t.Errorf("failed with %q, want a word on the charge", rec.errors)
	}
}

func TestToleratedEffectMayNotBeLost(t *testing.T) {
	e := crashkit.NewEffects()
	e.Tolerate("charge")
	r := crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error {
		_ = plain(ctx, e, "charge")
		return nil
	}, e, nil)
	expectKinds(t, r, "charge", true, crashkit.KindLost)
}

func TestRunLeavesASoundHandlerAlone(t *testing.T) {
	e := crashkit.NewEffects()
	r := crashkit.Run(t, nil, func(ctx context.Context, _ *bus.Message) error { return keyed(ctx, e, "charge") }, e, nil)
	if !r.OK() || len(r.Findings) != 0 || !strings.HasSuffix(r.String(), "\nno findings\n") {
		t.Errorf("\n%v", r)
	}
}

func TestTwoExplorationsAgree(t *testing.T) {
	if a, b := explore(t, plain, nil), explore(t, plain, nil); a.String() != b.String() {
		t.Errorf("one says\n%v\nthe other\n%v", a, b)
	}
}

func TestMistakesAreErrors(t *testing.T) {
	e := crashkit.NewEffects()
	good := func(ctx context.Context, _ *bus.Message) error { return keyed(ctx, e, "charge") }
	busy := crashkit.NewEffects()
	for name, c := range map[string]struct {
		handler bus.Handler
		effects *crashkit.Effects
		o       *crashkit.Options
		says    string
	}{
		"no handler":   {nil, e, nil, "handler is nil"},
		"no effects":   {good, nil, nil, "effects are nil"},
		"nothing done": {func(context.Context, *bus.Message) error { return nil }, e, nil, "no effect in a run without faults"},
		"nested": {func(ctx context.Context, _ *bus.Message) error {
			_, err := crashkit.ExploreErr(t, nil, good, busy, nil)
			return dedupe.Permanent(err)
		}, busy, nil, "in use by another Run"},
		"observe only": {good, e, &crashkit.Options{Dedupe: &dedupe.Options{ObserveOnly: true}}, "ObserveOnly"},
		"bad lease":    {good, e, &crashkit.Options{Dedupe: &dedupe.Options{Lease: time.Nanosecond}}, "Options.Lease"},
		"bad ack wait": {good, e, &crashkit.Options{AckWait: -1}, "AckWait"},
		"no id":        {good, e, &crashkit.Options{Message: &bus.Message{Data: []byte("x")}}, "no usable id"},
		"no claim": {good, e, &crashkit.Options{
			Message: &bus.Message{Data: []byte("x")}, Dedupe: &dedupe.Options{MissingID: dedupe.PassThrough},
		}, "runs without a claim"},
	} {
		if _, err := crashkit.ExploreErr(t, nil, c.handler, c.effects, c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: told %v, want %q", name, err, c.says)
		}
	}
}

func TestEffectsOutsideOfARun(t *testing.T) {
	e := crashkit.NewEffects()
	if err := errors.Join(e.Happen(t.Context(), "a"), e.HappenOnce(t.Context(), "a", "k"), e.HappenFenced(t.Context(), "a", 1)); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Happen(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("told %v, want the context's error", err)
	}
	if n := e.Count("a"); n != 0 {
		t.Errorf("counted %d", n)
	}
}

func TestInjectedErrorIsTheOneAskedFor(t *testing.T) {
	declined := errors.New("card declined")
	e := crashkit.NewEffects()
	r := crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error {
		if err := keyed(ctx, e, "charge"); errors.Is(err, declined) {
			return dedupe.Permanent(err)
		} else if err != nil {
			return err
		}
		return nil
	}, e, &crashkit.Options{Err: declined})
	if got := row(t, r, "charge fails, and did not happen"); got.Settled != bus.ActionReject || !strings.Contains(got.Err, "declined") {
		t.Errorf("%+v", got)
	}
	if !r.OK() || !strings.Contains(r.String(), "rejected") {
		t.Errorf("a message that is rejected is not lost:\n%v", r)
	}
}

func TestWatchNamesTheScenario(t *testing.T) {
	said := make(chan string, 1)
	defer crashkit.Watch("p9 nonsense", time.Nanosecond, func(why string) { said <- why })()
	if why := <-said; !strings.Contains(why, "p9 nonsense") || !strings.Contains(why, "lock") {
		t.Errorf("said %q", why)
	}
}

// TestHandlersThatLeaveGoroutines runs TestLeaving in a process of its own: its
// goroutines wait for ever.
func TestHandlersThatLeaveGoroutines(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeaving$", "-test.v")
	cmd.Env = append(os.Environ(), helper+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestLeaving") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLeaving(t *testing.T) {
	if os.Getenv(helper) == "" {
		t.Skip("run by TestHandlersThatLeaveGoroutines")
	}
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		err := keyed(ctx, e, "charge")
		if errors.Is(err, crashkit.ErrInjected) {
			<-make(chan bool) // whatever becomes of ctx
		}
		return err
	})
	expectKinds(t, r, "", true, crashkit.KindHung)
	if got := row(t, r, "charge fails, and did not happen"); !got.Hung || got.Settled != 0 {
		t.Errorf("%+v", got)
	}
	if row(t, r, "p4 crash after charge").Hung || !strings.Contains(r.String(), "HUNG") {
		t.Errorf("\n%v", r)
	}

	r = run(t, func(ctx context.Context, e *crashkit.Effects) error {
		ended := make(chan bool)
		go func() { <-ended }()
		err := keyed(ctx, e, "charge")
		close(ended) // not deferred: a crash leaves the goroutine behind
		return err
	})
	expectKinds(t, r, "", false, crashkit.KindLeak)
	if !r.OK() || row(t, r, "p4 crash after charge").Hung {
		t.Errorf("\n%v", r)
	}
}
