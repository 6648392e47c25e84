package sequences

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

// What is printed can be played again.
func TestTextIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q sequence
		for _, steps := range rapid.SliceOf(drawSteps).Draw(t, "sequence") {
			q = append(q, steps...)
		}
		back, err := parse("# a comment\n\n" + q.String())
		if err != nil {
			t.Fatal(err)
		}
		if len(q)+len(back) > 0 && !reflect.DeepEqual(q, back) {
			t.Fatalf("%v\nwas read as\n%v", q, back)
		}
	})
}

func TestTextIsRefused(t *testing.T) {
	for _, text := range []string{
		"claim", "claim ab 1", "claim a", "claim a one", "grab a 1", "| ", "again", "again x", "advance", "advance 1",
		"advance 1m", "advance u", "advance 1ux", "advance 1u1", "claim a 1 ttl", "claim a 1 tt=1u", "claim a 1 max=x",
		"claim a 1 print=AB", "extend a 1 fence=mine", "forget a seen=lost", `dead a 1 reason="open`, "dead a 1 reason=bare",
	} {
		if q, err := parse(text); err == nil {
			t.Errorf("%q was read as %v", text, q)
		}
	}
}

// On a real clock lengths are over at the next advance, or never.
func TestSpans(t *testing.T) {
	const unit = 10 * time.Millisecond
	for text, want := range map[string]time.Duration{
		"0": 0, "1ms": unit, "1u": unit, "1u-1ms": unit, "1u+1ms": unit, "2u": 2000 * unit, "2u-1ms": 2000 * unit, "10u": 10000 * unit,
	} {
		s, err := parseSpan(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.on(unit, true); got != want {
			t.Errorf("%s is %v on a real clock, want %v", text, got, want)
		}
	}
	if got := (span{2, -1}).on(time.Second, false); got != 1999*time.Millisecond {
		t.Errorf("2u-1ms is %v", got)
	}
}

// A named sequence that no mutant fails tests nothing that is known to break.
func TestNamedSequencesFindMutants(t *testing.T) {
	missed := map[string]bool{}
	for _, m := range mutants {
		missed[m.name] = true
	}
	for _, n := range named {
		q, err := parse(n.text)
		if err != nil {
			t.Fatal(err)
		}
		var by []string
		for _, m := range mutants {
			g, err := newPlayground(t.Context(), onFakeClock(m.step))
			if err != nil {
				t.Fatal(err)
			}
			if g.play(q) != nil {
				by = append(by, m.name)
				delete(missed, m.name)
			}
		}
		t.Logf("%s finds: %s", n.name, strings.Join(by, "; "))
	}
	for name := range missed {
		t.Errorf("no named sequence finds: %s", name)
	}
}

func TestReplay(t *testing.T) {
	Replay(t, func(testing.TB) *claimtest.Harness { return onFakeClock(claim.Step) }, `
		claim a 1 ttl=1u keep=3u
		again 1`)
}

func TestHarnessIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(h *claimtest.Harness){
		"no store":      func(h *claimtest.Harness) { h.Store = nil },
		"no advance":    func(h *claimtest.Harness) { h.Advance = nil },
		"unit too long": func(h *claimtest.Harness) { h.Unit = time.Hour },
		"no unit":       func(h *claimtest.Harness) { h.Unit = 0 },
	} {
		h := onFakeClock(claim.Step)
		spoil(h)
		if _, err := newPlayground(t.Context(), h); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
