package histories

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/oncebus/once/claim"
)

// patience is how long one search for an order of the operations on a key may
// take. There are several, for less and less.
const patience = 5 * time.Second

// ArtifactsVariable names the environment variable that says in which directory
// Check saves pictures. Defaults to once-histories in the system's directory for
// temporary files.
const ArtifactsVariable = "ONCE_ARTIFACTS"

// Violation is what is wrong with the operations on one key.
type Violation struct {
	Key claim.Key
	// Rules are the rules that are broken on their face, each with the operations
	// that break it. There may be none.
	Rules []string
	// Operations are those on the key up to the first answer that no order
	// explains, or all of them when only rules are broken.
	Operations []Operation
}

// Result is what Verify found.
type Result struct {
	// Keys is how many keys were checked. For Weaker of them, which had too many
	// operations without an answer, the model let those take effect any number of
	// times instead of once: it then finds less, and what it finds is as wrong.
	Keys, Weaker int
	// Undecided is how many keys the search gave up: it took too long, or the
	// record may have been in too many states.
	Undecided int
	// Violations are the keys on which something is wrong.
	Violations []Violation
}

// Verify says whether the history can be explained. The store must not have had
// records of the history's keys when the recording began.
func Verify(h *History) (r Result) {
	for _, ops := range h.byKey() {
		r.Keys++
		v := Violation{Key: ops[0].Op.Key, Rules: broken(ops), Operations: ops}
		f := search(ops)
		switch {
		case f.result == porcupine.Unknown:
			r.Undecided++
		case f.repeats:
			r.Weaker++
		}
		if f.result == porcupine.Illegal {
			v.Operations = shortestPrefix(ops)
		} else if len(v.Rules) == 0 {
			continue
		}
		r.Violations = append(r.Violations, v)
	}
	return r
}

// Check fails the test unless the history can be explained: for every key there
// must be an order of the operations, each within its time, in which claim.Step
// gives the answers that were given. For up to three keys it prints what is
// wrong and saves a picture, whose path it prints. It fails, too, when more than
// a tenth of the keys was not decided.
func Check(t testing.TB, h *History) Result {
	t.Helper()
	r := Verify(h)
	for i, v := range r.Violations {
		if i == 3 {
			t.Errorf("histories: and %d more keys", len(r.Violations)-i)
			break
		}
		path := artifact(t.Name(), i)
		if err := v.Save(path, h.Notes); err != nil {
			t.Errorf("histories: no picture: %v", err)
		}
		t.Errorf("histories: %v\na picture of it: %s", v, path)
	}
	if r.Undecided > 0 {
		t.Logf("histories: %d of %d keys were not decided", r.Undecided, r.Keys)
	}
	if r.Undecided*10 > r.Keys {
		t.Errorf("histories: too many keys were not decided: use fewer operations a key, or fewer faults")
	}
	return r
}

// artifact returns the path of a picture.
func artifact(test string, number int) string {
	dir := os.Getenv(ArtifactsVariable)
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "once-histories")
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, test)
	return filepath.Join(dir, fmt.Sprintf("%s-%d.html", name, number))
}

// String returns the violation in words, with the last operations that led to
// it.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no order of the operations on key %v explains the answers", v.Key)
	for _, rule := range v.Rules {
		b.WriteString("\nbroken: " + rule)
	}
	const shown = 30
	from := max(0, len(v.Operations)-shown)
	if from > 0 {
		fmt.Fprintf(&b, "\n\t(%d operations before)", from)
	}
	for i := range v.Operations[from:] {
		b.WriteString("\n\t" + v.Operations[from+i].String())
	}
	return b.String()
}

// Save writes a picture of the violation to path, an HTML file: the answered
// operations with the longest orders that explain them, and beside them those
// without an answer and the notes. It makes the directory.
func (v Violation) Save(path string, notes []Note) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f := search(v.Operations)
	if f.result == porcupine.Unknown {
		return errors.New("the search was given up")
	}
	m, history := prepare(v.Operations, f.repeats, f.depth)
	_, info := porcupine.CheckOperationsVerbose(m.porcupine(), history, 0)
	if m.gaveUp { // or the picture would ask what the search was not asked
		return errors.New("the search was given up")
	}
	m.deadline = time.Now().Add(time.Hour)
	info.AddAnnotations(annotations(v.Operations, notes))
	return porcupine.VisualizePath(m.porcupine(), info, path)
}

// prepare returns the model of a key, with the operations that may take effect
// unseen, and those that were answered, for the checker to put in order.
func prepare(ops []Operation, repeats bool, depth int) (*model, []porcupine.Operation) {
	m := newModel(ops, repeats, depth)
	var history []porcupine.Operation
	for i := range ops {
		o := &ops[i]
		switch {
		case o.NotDone():
		case o.Unknown():
			m.add(o, 1+o.Copies)
		default:
			m.add(o, o.Copies)
			history = append(history, porcupine.Operation{ClientId: o.Client, Input: o, Call: int64(o.Call), Return: int64(o.Return)})
		}
	}
	return m, history
}

// finding is how a search ended.
type finding struct {
	result porcupine.CheckResult
	// repeats and depth are the model's that gave the result.
	repeats bool
	depth   int
}

// search says whether there is an order of ops that explains them. It looks for
// an explanation with few unknown operations first; only when there is none must
// it follow all of them.
func search(ops []Operation) finding {
	for _, repeats := range []bool{false, true} {
		for _, depth := range []int{0, 1, 2, 4, math.MaxInt} {
			m, history := prepare(ops, repeats, depth)
			if !repeats && len(m.unknown) > maxCopies {
				break
			}
			explained := porcupine.CheckOperations(m.porcupine(), history)
			switch {
			case explained:
				return finding{porcupine.Ok, repeats, depth}
			case !m.gaveUp && !m.curtailed:
				return finding{porcupine.Illegal, repeats, depth}
			}
			if m.gaveUp {
				break // more of them would take longer still
			}
		}
	}
	return finding{result: porcupine.Unknown, repeats: true}
}

// shortestPrefix returns the operations up to the first return by which no order
// explains the answers any more. What had not returned by then has no answer.
func shortestPrefix(ops []Operation) []Operation {
	var ends []time.Duration
	for _, o := range ops {
		if !o.Unknown() && !o.NotDone() {
			ends = append(ends, o.Return)
		}
	}
	slices.Sort(ends)
	at, _ := slices.BinarySearchFunc(ends, true, func(end time.Duration, _ bool) int {
		if search(prefix(ops, end)).result == porcupine.Illegal {
			return 0
		}
		return -1
	})
	if at == len(ends) {
		return ops
	}
	return prefix(ops, ends[at])
}

// prefix returns the operations as they stood at a moment.
func prefix(ops []Operation, end time.Duration) []Operation {
	var all []Operation
	for _, o := range ops {
		if o.Call > end {
			continue
		}
		if o.Return > end {
			o.Return = Never
			o.Op.Verdict, o.Op.Recovered, o.Op.Err = claim.Verdict{}, false, nil
		}
		all = append(all, o)
	}
	return all
}

// annotations show what the checker does not put in order.
func annotations(ops []Operation, notes []Note) []porcupine.Annotation {
	var all []porcupine.Annotation
	last := time.Duration(math.MinInt64)
	for i := range ops {
		o := &ops[i]
		if !o.Unknown() {
			last = max(last, o.Return)
		}
	}
	for i := range ops {
		o := &ops[i]
		switch {
		case o.Unknown():
			all = append(all, porcupine.Annotation{ClientId: o.Client, Start: int64(o.Call), End: int64(max(o.Call, last)),
				Description: "? " + o.Op.Kind.String(), Details: o.String(), BackgroundColor: "#ffe0a0"})
		case o.NotDone():
			all = append(all, porcupine.Annotation{ClientId: o.Client, Start: int64(o.Call), End: int64(o.Return),
				Description: "✗ " + o.Op.Kind.String(), Details: o.String(), BackgroundColor: "#e0e0e0"})
		}
	}
	for _, n := range notes {
		all = append(all, porcupine.Annotation{Tag: "beside", Start: int64(n.At), Description: n.Text})
	}
	return all
}
