package bustest

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// Case is one rule of an adapter.
type Case struct {
	// Name is short and unique, for a test's name.
	Name string
	// Why says what is lost when the rule is broken. It is printed on failure.
	Why string

	needs func(*Harness) bool // nil: every bus
	run   func(t T, h *Harness)
}

// Applies reports whether h's bus has what the case needs.
func (c Case) Applies(h *Harness) bool { return c.needs == nil || c.needs(h) }

// Run runs the case, which must apply to h.
func (c Case) Run(t T, h *Harness) { c.run(t, h) }

// Cases returns the rules in order, for those who run them one by one, for
// example each in a testing/synctest bubble of its own.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{deliveryCases, settleCases, keepAliveCases, workerCases, stopCases, batchCases, loadCases} {
		all = append(all, group...)
	}
	return all
}

// Run runs every case that applies as a parallel subtest of t. It calls open for
// each, with the subtest.
func Run(t *testing.T, open func(t testing.TB) *Harness) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			if !c.Applies(h) {
				t.Skip("the bus has no such feature")
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("why: %s", c.Why)
				}
			})
			c.Run(t, h)
		})
	}
}

// Check runs every case that applies, all at once, and returns the failures by
// case name. It fails t only when open does.
func Check(t testing.TB, open func(t testing.TB) *Harness) map[string][]string {
	t.Helper()
	failures := make(map[string][]string)
	var mu sync.Mutex // guards failures
	var wg sync.WaitGroup
	for _, c := range Cases() {
		h := open(t)
		if !c.Applies(h) {
			continue
		}
		wg.Go(func() {
			if f := Record(t.Context(), func(t T) { c.Run(t, h) }); len(f) > 0 {
				mu.Lock()
				defer mu.Unlock()
				failures[c.Name] = f
			}
		})
	}
	wg.Wait()
	return failures
}

// Record calls run with a T that keeps the failures instead of failing a test,
// and returns them after run and its cleanups have ended.
func Record(ctx context.Context, run func(T)) []string {
	r := &recorder{}
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // of its own, because Fatalf ends it
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				r.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		run(r)
	}()
	<-done
	cancel()
	r.cleanup()
	r.mu.Lock() // a wrong adapter may still run handlers
	defer r.mu.Unlock()
	return slices.Clone(r.failures)
}

// recorder is a T that keeps failures.
type recorder struct {
	ctx context.Context

	mu       sync.Mutex // guards the following
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Logf(string, ...any)       {}
func (r *recorder) Context() context.Context  { return r.ctx }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) cleanup() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}
