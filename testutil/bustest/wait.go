package bustest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// patience is as long as nothing but a failure takes.
const patience = 30 * time.Second

// Within waits for ch and returns what it gives. It fails the test when that takes as
// long as only a failure does; what says what was waited for.
func Within[E any](t testing.TB, ch <-chan E, what string) E {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// Until waits until cond reports true, and fails the test as Within does.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick, over := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Background runs consume until stop is called or the test ends. stop returns its
// error; the first call does.
func Background(t testing.TB, consume func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- consume(ctx) }()
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = Within(t, ended, "Consume to return")
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}
