package crashkit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/testutil/crashkit"
)

// run explores a handler that has its effects by e.
func run(t *testing.T, h func(ctx context.Context, e *crashkit.Effects) error) *crashkit.Report {
	t.Helper()
	e := crashkit.NewEffects()
	return crashkit.Explore(t, nil, func(ctx context.Context, _ *bus.Message) error { return h(ctx, e) }, e, nil)
}

// row returns the row with a title.
func row(t *testing.T, r *crashkit.Report, title string) *crashkit.Row {
	t.Helper()
	for i := range r.Rows {
		if r.Rows[i].Title() == title {
			return &r.Rows[i]
		}
	}
	t.Fatalf("there is no scenario %q in\n%v", title, r)
	return nil
}

func TestTwoEffectsInARow(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		if err := plain(ctx, e, "mail"); err != nil {
			return err
		}
		return keyed(ctx, e, "charge")
	})
	expectSound(t, r)
	expectKinds(t, r, "mail", true, crashkit.KindDoubled)
	expectKinds(t, r, "mail", false, crashkit.KindOrder)
	expectKinds(t, r, "charge", true)
	for title, want := range map[string]int{
		"p4 crash before mail":                 1,
		"p4 crash after mail":                  2,
		"p4 crash before charge":               2, // the mail was sent
		"p4 stands still before mail":          1, // its context has ended when it wakes up
		"p4 stands still before charge":        2,
		"told to stop before mail":             1,
		"told to stop before charge":           2,
		"p6 crash, the commit's reply is lost": 1,
	} {
		if got := row(t, r, title).Counts[0]; got.Effect != "mail" || got.Happened != want {
			t.Errorf("%s: %+v, want %d mails", title, got, want)
		}
	}
}

func TestOneEffectTwiceInARunIsMeantTwice(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		return errors.Join(plain(ctx, e, "mail"), plain(ctx, e, "mail"))
	})
	if k := r.Effects[0]; k.Wanted != 2 {
		t.Errorf("wanted %d mails, want 2", k.Wanted)
	}
	if got := row(t, r, "p4 crash before mail #2").Counts[0].Happened; got != 3 {
		t.Errorf("%d mails after a crash between the two, want 3", got)
	}
	if got := row(t, r, "no fault").Counts[0]; got.Doubled() {
		t.Errorf("without a fault: %+v", got)
	}
}

func TestSwallowedErrorIsALoss(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		_ = keyed(ctx, e, "charge")
		return nil
	})
	expectKinds(t, r, "charge", true, crashkit.KindLost)
	if want := []string{"charge fails, and did not happen", "charge hangs beyond MaxRun, and does not happen"}; !containsAll(r.Lost("charge"), want) {
		t.Errorf("lost in %q, want %q", r.Lost("charge"), want)
	}
	if row(t, r, "the release is lost on its way").Struck {
		t.Error("a release was lost, and there is none")
	}
	expectKinds(t, r, "", false, crashkit.KindMissed)
}

func TestRecoveredPanic(t *testing.T) {
	two := func(answer func(v any) error) func(ctx context.Context, e *crashkit.Effects) error {
		return func(ctx context.Context, e *crashkit.Effects) (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = answer(v)
				}
			}()
			return errors.Join(keyed(ctx, e, "charge"), keyed(ctx, e, "mail"))
		}
	}
	r := run(t, two(func(any) error { return nil }))
	if got, want := r.Lost("mail"), []string{"panic after charge"}; !slices.Equal(got, want) {
		t.Errorf("a handler that makes a panic a success loses the mail in %q, want %q", got, want)
	}
	expectKinds(t, r, "mail", true, crashkit.KindLost)
	// A crash is no panic: nothing recovers from it.
	if got := row(t, r, "p4 crash after charge"); got.Runs != 2 || got.Counts[1].Happened != 1 {
		t.Errorf("after a crash: %+v", got)
	}
	if r := run(t, two(func(any) error { return errors.New("boom") })); !r.OK() {
		t.Errorf("a handler that makes a panic an error:\n%v", r)
	}
}

func TestEffectThatIsNotWaitedFor(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		go func() { _ = keyed(context.WithoutCancel(ctx), e, "mail") }()
		return nil
	})
	expectKinds(t, r, "mail", true, crashkit.KindLate)
	for _, title := range []string{"p6 crash, the commit's reply is lost", "p7 crash before the ack"} {
		if !slices.Contains(r.Lost("mail"), title) {
			t.Errorf("the mail is not lost in %q, but in %q", title, r.Lost("mail"))
		}
	}
	if slices.Contains(r.Lost("mail"), "no fault") {
		t.Error("the mail is lost without a fault")
	}

	// With the handler's own context it is worse: that ends when the handler
	// returns.
	r = run(t, func(ctx context.Context, e *crashkit.Effects) error {
		go func() { _ = keyed(ctx, e, "mail") }()
		return nil
	})
	expectKinds(t, r, "mail", true, crashkit.KindLate)
	if !slices.Contains(r.Lost("mail"), "no fault") {
		t.Errorf("the mail is lost in %q alone", r.Lost("mail"))
	}
}

func TestIgnoredContext(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		return plain(context.WithoutCancel(ctx), e, "charge")
	})
	expectKinds(t, r, "charge", false, crashkit.KindHeedless)
	more := []string{"p3 stands still before the handler starts", "p4 stands still before charge", "cut off from the store before charge",
		"charge hangs beyond MaxRun, and does not happen"}
	if !containsAll(r.Doubled("charge"), append(more, doublesUnguarded...)) {
		t.Errorf("doubled in\n%s", strings.Join(r.Doubled("charge"), "\n"))
	}

	r = run(t, func(_ context.Context, e *crashkit.Effects) error { return plain(context.Background(), e, "charge") })
	expectKinds(t, r, "charge", false, crashkit.KindHeedless, crashkit.KindForeign)
	if !containsAll(r.Doubled("charge"), append(more, doublesUnguarded...)) {
		t.Errorf("doubled in\n%s", strings.Join(r.Doubled("charge"), "\n"))
	}
}

func TestParallelEffects(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		names := []string{"charge", "mail", "mail"}
		errs := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() { errs[i] = e.HappenOnce(ctx, name, name+string(rune('0'+i))) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if !r.OK() {
		t.Errorf("\n%v", r)
	}
	expectSound(t, r)
	for _, row := range r.Rows {
		if strings.HasPrefix(row.Scenario, "panic") || strings.HasPrefix(row.Scenario, "Goexit") {
			t.Errorf("%s: in a goroutine of the handler's own it ends the program", row.Title())
		}
	}
}

func TestMessageThatIsNeverSettled(t *testing.T) {
	// The handler refuses whatever an earlier run has left behind.
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		if e.Count("charge") > 0 {
			return errors.New("there is a charge already")
		}
		return plain(ctx, e, "charge")
	})
	expectKinds(t, r, "", true, crashkit.KindUnsettled)
	if got := row(t, r, "p4 crash after charge"); got.Settled != 0 || !strings.Contains(got.Err, "already") || got.Runs < 10 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(r.String(), "NEVER SETTLED") || !strings.Contains(r.Findings[0].What, "already") {
		t.Errorf("the report does not say so:\n%v", r)
	}

	always := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		return errors.Join(plain(ctx, e, "charge"), errors.New("never"))
	})
	if len(always.Rows) != 1 || always.OK() {
		t.Errorf("a handler that never succeeds:\n%v", always)
	}
}

func TestHandlerThatLooksBeforeItActs(t *testing.T) {
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		if e.Count("charge") > 0 {
			return nil
		}
		return plain(ctx, e, "charge")
	})
	// It helps against a crash, and not against two that act at once.
	for title, want := range map[string]int{
		"p4 crash after charge":                  1,
		"p4 stands still with charge on its way": 2,
	} {
		if got := row(t, r, title).Counts[0].Happened; got != want {
			t.Errorf("%s: %d charges, want %d", title, got, want)
		}
	}
}

func TestStateInMemoryDiesWithItsProcess(t *testing.T) {
	e := crashkit.NewEffects()
	remembering := func() bus.Handler {
		charged := false
		return func(ctx context.Context, _ *bus.Message) error {
			if charged {
				return nil
			}
			err := plain(ctx, e, "charge")
			charged = err == nil
			return err
		}
	}
	r := crashkit.Explore(t, nil, nil, e, &crashkit.Options{NewHandler: remembering})
	if !slices.Contains(r.Doubled("charge"), "p5 crash before the commit is sent") {
		t.Errorf("what the first process remembered lives on after its crash:\n%v", r)
	}
}

func TestResetComesBeforeEachScenario(t *testing.T) {
	e := crashkit.NewEffects()
	inbox := map[string]bool{}
	var mu sync.Mutex
	r := crashkit.Explore(t, nil, func(ctx context.Context, m *bus.Message) error {
		mu.Lock()
		known := inbox[m.ID]
		mu.Unlock()
		if known {
			return nil
		}
		if err := e.HappenOnce(ctx, "insert", m.ID); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		inbox[m.ID] = true
		return nil
	}, e, &crashkit.Options{Reset: func() { clear(inbox) }, Message: &bus.Message{ID: "order-7"}})
	if !r.OK() || r.Lost("insert") != nil {
		t.Errorf("\n%v", r)
	}
}

func TestVirtualTimeIsTheHandlers(t *testing.T) {
	begun := time.Now()
	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		time.Sleep(2 * time.Minute)
		return keyed(ctx, e, "charge")
	})
	if !r.OK() {
		t.Errorf("\n%v", r)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func containsAll(list, want []string) bool {
	return !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(list, s) })
}
