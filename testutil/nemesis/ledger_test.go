//go:build linux

package nemesis_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/oncebus/once/testutil/nemesis"
)

func TestLedgerKeepsWhatManyWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	const writers, lines = 8, 500
	var wg sync.WaitGroup
	for range writers {
		l, err := nemesis.OpenLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range lines {
				if err := l.Write(nemesis.Line{Kind: "effect", Order: nemesis.OrderID(i), Run: i, Fence: 1 << 52, Attempt: 3}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := nemesis.ReadLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, l := range got {
		counts[fmt.Sprint(l.Kind, l.Order, l.Run, l.Fence, l.Attempt, l.Note)]++
	}
	for i := range lines {
		if n := counts[fmt.Sprint("effect", nemesis.OrderID(i), i, uint64(1<<52), 3, "-")]; n != writers {
			t.Fatalf("order %d has %d lines, want %d", i, n, writers)
		}
	}
}

func TestSinkRefusesSmallerFences(t *testing.T) {
	t.Parallel()
	s := nemesis.NewSink(t.TempDir())
	for _, c := range []struct {
		fence uint64
		want  bool
	}{{5, true}, {4, false}, {5, false}, {6, true}, {5, false}} {
		if got, err := s.Put("o-1", c.fence); err != nil || got != c.want {
			t.Errorf("fence %d: accepted %v, %v; want %v", c.fence, got, err, c.want)
		}
	}
	if ok, err := s.Put("o-2", 1); err != nil || !ok {
		t.Errorf("another order: accepted %v, %v", ok, err)
	}
}

func TestPlanTakesItsPointsInTurn(t *testing.T) {
	t.Parallel()
	p := nemesis.Plan{Points: []nemesis.Point{nemesis.P0, nemesis.P5}, Stride: 10, Offset: 3}
	var at []nemesis.Point
	for n := range 40 {
		if point := p.At(n); point != "" {
			at = append(at, point)
		}
	}
	if fmt.Sprint(at) != "[p0 p5 p0 p5]" {
		t.Errorf("points %v", at)
	}
	if none := (&nemesis.Plan{}).At(5); none != "" {
		t.Errorf("no plan has %q", none)
	}
}
