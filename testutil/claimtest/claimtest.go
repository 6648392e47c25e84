package claimtest

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// Harness is one store under test.
type Harness struct {
	// Store is an empty store, or an empty key space of its own in a shared one.
	Store claim.Store
	// Advance moves the store's clock forward by at least d: by setting a fake
	// clock, or by waiting on a real server's clock.
	Advance func(d time.Duration)
	// Unit is the shortest time the suite uses as a lease; with fake clocks e.g.
	// time.Second, with real servers e.g. 30ms. All leases, delays and
	// retentions in the suite are multiples of it. With a Unit of a second or
	// more the clock is taken for a fake one, and the suite advances it by
	// minutes too.
	Unit time.Duration
	// Places gives most keys of the suite a place, all in one log, and takes it that
	// a bare completion keeps the place alone: for a store that remembers places.
	Places bool
	// Parallel lets cases run side by side: for stores on a shared real server,
	// with a key space of their own per Harness.
	Parallel bool
}

func (h *Harness) fakeClock() bool { return h.Unit >= time.Second }

// testCase is one rule and its check.
type testCase struct {
	name string
	// why is the rule, as a sentence, printed on failure.
	why string
	// inspector says that the case needs a claim.Inspector, batcher that it
	// needs a claim.Batcher and is not repeated in batches.
	inspector, batcher bool
	run                func(e *env)
}

// allCases returns the suite in the order of package claim's documentation.
func allCases() []testCase {
	return slices.Concat(
		tableCases(), lateCases(),
		claimCases, attemptCases, fingerprintCases,
		extendCases, doneCases, deadCases, releaseCases,
		retentionCases, fenceCases,
		keyCases, invalidCases(), contextCases, errorCases,
		concurrencyCases, batchCases, inspectCases, operatorCases,
	)
}

// Run runs the suite. It calls open once per case; open registers its clean-up
// with t.
func Run(t *testing.T, open func(t testing.TB) *Harness) {
	RunSingle(t, open)
	runMode(t, batched, open)
}

// RunSingle is Run without the half in which all operations are parts of batches:
// for a store that differs from one that passes Run in its single operations alone.
func RunSingle(t *testing.T, open func(t testing.TB) *Harness) { runMode(t, single, open) }

func runMode(t *testing.T, m mode, open func(t testing.TB) *Harness) {
	t.Run(m.String(), func(t *testing.T) {
		parallel := false // as the first harness says
		for _, c := range allCases() {
			if c.batcher && m == single {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				if parallel {
					t.Parallel() // before the store is opened, which may take its time too
				}
				runCase(t, &c, m, func(tb testing.TB) *Harness {
					h := open(tb)
					if h.Parallel && !parallel {
						parallel = true
						t.Parallel()
					}
					return h
				})
			})
		}
	})
}

// maxTries bounds how often a case is run that came late each time.
const maxTries = 5

func runCase(t *testing.T, c *testCase, mode mode, open func(t testing.TB) *Harness) {
	for try := 1; ; try++ {
		h := open(t)
		if h.fakeClock() || try == maxTries {
			defer func() {
				if t.Failed() {
					t.Logf("the rule: %s", c.why)
				}
			}()
			e := newEnv(t, h, mode)
			if why := e.lacks(c); why != "" {
				t.Skip(why)
			}
			c.run(e)
			return
		}
		r := &recorder{}
		var e *env
		start, why := time.Now(), ""
		r.run(func() {
			e = newEnv(r, h, mode)
			if why = e.lacks(c); why == "" {
				c.run(e)
			}
		})
		switch {
		case why != "":
			t.Skip(why)
		case len(r.messages) == 0:
			return
		case e != nil && time.Since(start)-e.waited < h.Unit:
			t.Fatalf("%s\nthe rule: %s", strings.Join(r.messages, "\n"), c.why)
		}
		// Between two calls a lease may have ended that was to be alive.
		t.Logf("the calls took longer than a lease: once more, after %s", strings.Join(r.messages, "\n"))
	}
}

// Failure is a case that a store failed.
type Failure struct {
	// Case is the name of the case, as Run would print it.
	Case string
	// Why is the rule that the store breaks.
	Why string
	// Message is what the case reported first.
	Message string
}

// Failures runs the suite and returns the cases that fail, without failing t.
// It is for negative controls: a store that is broken on purpose must have
// some.
func Failures(t testing.TB, open func(t testing.TB) *Harness) []Failure {
	var failures []Failure
	for _, mode := range []mode{single, batched} {
		for _, c := range allCases() {
			if c.batcher && mode == single {
				continue
			}
			r := &recorder{}
			r.run(func() {
				e := newEnv(r, open(t), mode)
				if e.lacks(&c) == "" {
					c.run(e)
				}
			})
			if len(r.messages) > 0 {
				failures = append(failures, Failure{mode.String() + "/" + c.name, c.why, r.messages[0]})
			}
		}
	}
	return failures
}

// tester is the part of testing.TB that cases use, so that a recorder can stand
// in for it.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// recorder is a tester that keeps failures to itself.
type recorder struct {
	mu       sync.Mutex
	messages []string
}

// run calls fn in a goroutine of its own, which Fatalf may end. A panic counts
// as a failure.
func (r *recorder) run(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v", p)
			}
		}()
		fn()
	}()
	<-done
}

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, caseLine()+fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// caseLine returns the line of the case that calls, as testing.T would print it.
func caseLine() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if name := filepath.Base(f.File); strings.HasPrefix(name, "cases_") {
			return fmt.Sprintf("%s:%d: ", name, f.Line)
		}
		if !more {
			return ""
		}
	}
}
