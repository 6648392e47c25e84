package histories_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/testutil/histories"
)

// spy is a test that keeps its failures to itself.
type spy struct {
	testing.TB
	errors []string
}

func (*spy) Helper()                         {}
func (*spy) Name() string                    { return "TestOf/a store, under faults" }
func (s *spy) Errorf(f string, args ...any)  { s.errors = append(s.errors, fmt.Sprintf(f, args...)) }
func (*spy) Logf(format string, args ...any) {}

// What is wrong is printed, and a picture of it is where the text says.
func TestViolationsArePrintedAndDrawn(t *testing.T) {
	dir := t.TempDir() + "/made/when/needed"
	t.Setenv(histories.ArtifactsVariable, dir)
	h := byHandHistory(t, []said{
		{0, 1, claimed(1, time.Hour, fence1, 1), 0}, {2, 0, extend(1, fence1, time.Hour), 0}, {3, 4, notDone(release(1, fence1)), 0},
		{5, 6, pending(2, time.Hour), 0}, {7, 8, claimed(3, time.Hour, fence2, 2), 0}, {9, 10, pending(4, time.Hour), 0},
	})
	h.Notes = []histories.Note{{At: 4 * ms, Text: "lightning"}}
	s := &spy{TB: t}
	if r := histories.Check(s, h); len(r.Violations) != 1 || len(s.errors) != 1 {
		t.Fatalf("%d violations, errors %q", len(r.Violations), s.errors)
	}
	text := s.errors[0]
	for _, want := range []string{"no order", "broken: I1", "client 4", "TryClaim(token 0300", "→ unknown", "→ not done"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the text:\n%s", want, text)
		}
	}
	if strings.Contains(text, "client 5") {
		t.Errorf("what came after the first answer that nothing explains is in the text:\n%s", text)
	}
	_, path, _ := strings.Cut(text, "a picture of it: ")
	if !strings.HasPrefix(path, dir+"/TestOf-a-store--under-faults-0") {
		t.Errorf("the picture is at %q", path)
	}
	picture, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<html", "claimed, fence 2000", "lightning", "? Extend", "✗ Release"} {
		if !strings.Contains(string(picture), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
}

// At most three keys are printed in full.
func TestManyViolationsAreCut(t *testing.T) {
	t.Setenv(histories.ArtifactsVariable, t.TempDir())
	s := &spy{TB: t}
	r := histories.Check(s, record(steady(1), setNX()))
	if len(r.Violations) < 5 || len(s.errors) != 4 || !strings.Contains(s.errors[3], "more keys") {
		t.Errorf("%d violations in %d errors", len(r.Violations), len(s.errors))
	}
}
