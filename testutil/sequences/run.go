package sequences

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/oncebus/once/testutil/claimtest"
)

// On a real clock a sequence takes a second, nearly all of it spent waiting:
// only every slowdown-th of rapid's checks is carried out, in so many subtests
// side by side as the harness allows.
const (
	slowdown = 10
	abreast  = 8
)

// Run plays the named sequences and then random ones on the store that open
// returns; open registers its clean-up with t. It is called once for each named
// sequence and once, or a few times, for all random ones.
func Run(t *testing.T, open func(t testing.TB) *claimtest.Harness) {
	t.Run("Named", func(t *testing.T) {
		for _, n := range named {
			t.Run(n.name, func(t *testing.T) {
				g := start(t, open)
				defer func() {
					if t.Failed() {
						t.Logf("the rule: %s", n.why)
					}
				}()
				g.replay(t, n.text)
			})
		}
	})
	t.Run("Random", func(t *testing.T) {
		g := prepare(t, open)
		if !g.real || !g.Parallel {
			g.check(t)
			g.log(t)
			return
		}
		for i := range abreast {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				g := start(t, open)
				g.check(t)
				g.log(t)
			})
		}
	})
}

// Replay plays a sequence that was printed, or written by hand; see the package
// documentation for its text.
func Replay(t testing.TB, open func(t testing.TB) *claimtest.Harness, text string) {
	t.Helper()
	prepare(t, open).replay(t, text)
}

// prepare opens a store to play on.
func prepare(t testing.TB, open func(t testing.TB) *claimtest.Harness) *playground {
	t.Helper()
	g, err := newPlayground(context.Background(), open(t))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// start is prepare in a test that may run beside others.
func start(t *testing.T, open func(t testing.TB) *claimtest.Harness) *playground {
	t.Helper()
	g := prepare(t, open)
	if g.Parallel {
		t.Parallel()
	}
	return g
}

func (g *playground) replay(t testing.TB, text string) {
	t.Helper()
	q, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.play(q); err != nil {
		t.Fatal(err)
	}
}

// check plays random sequences, and those of earlier failures that rapid kept.
func (g *playground) check(t rapid.TB) {
	t.Helper()
	var (
		drawn  int
		failed bool // from here on rapid looks for a shorter failure
	)
	rapid.Check(t, func(t *rapid.T) {
		drawn++
		if g.real && drawn%slowdown != 1 && !failed {
			return
		}
		p, err := g.newPlayer()
		if err != nil {
			t.Fatal(err)
		}
		// Steps are played as they are drawn, so that none is drawn behind a
		// failure. A failure must have one text and come from one line, or rapid
		// would take it for another one and not make it shorter.
		t.Repeat(map[string]func(*rapid.T){
			"steps": func(t *rapid.T) {
				if err := p.play(drawSteps.Draw(t, "steps")); err != nil {
					failed = true
					t.Fatalf("%v\n%v", err, p.sequence)
				}
			},
		})
	})
}

func (g *playground) log(t testing.TB) {
	t.Logf("%d random sequences of %d operations", g.sequences, g.operations)
}
