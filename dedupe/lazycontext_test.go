package dedupe

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errLost = errors.New("lost")

type nameKey struct{}

// family is what code makes of a context that it is given.
func family(ctx context.Context) map[string]context.Context {
	value := context.WithValue(ctx, nameKey{}, "value")
	child, cancel := context.WithCancel(value)
	timed, stop := context.WithTimeout(ctx, time.Hour)
	after, ran := context.WithCancelCause(context.Background())
	context.AfterFunc(ctx, func() { ran(context.Cause(ctx)) })
	_, _ = cancel, stop // they live as long as ctx
	return map[string]context.Context{"itself": ctx, "value": value, "child": child, "timed": timed, "after": after}
}

func expectCause(t *testing.T, family map[string]context.Context, want error) {
	t.Helper()
	synctest.Wait()
	for name, ctx := range family {
		select {
		case <-ctx.Done():
		default:
			t.Errorf("%s: not done", name)
		}
		if ctx.Err() == nil || context.Cause(ctx) != want {
			t.Errorf("%s: error %v, cause %v, want %v", name, ctx.Err(), context.Cause(ctx), want)
		}
	}
}

func expectAlive(t *testing.T, family map[string]context.Context) {
	t.Helper()
	synctest.Wait()
	for name, ctx := range family {
		if ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("%s: error %v, cause %v before its time", name, ctx.Err(), context.Cause(ctx))
		}
	}
}

// expectNoGoroutines fails when package context started one, as it does for
// children of contexts that it does not know.
func expectNoGoroutines(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if strings.Contains(string(stacks), "propagateCancel") {
		t.Error("a goroutine waits for a child")
	}
}

func TestLazyContextTellsWhyItWasCancelled(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, parent context.Context, cancelParent context.CancelCauseFunc){
		"children first": func(t *testing.T, parent context.Context, _ context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			f := family(c)
			expectAlive(t, f)
			expectNoGoroutines(t)
			c.cancel(errLost)
			expectCause(t, f, errLost)
			c.end()
			expectCause(t, f, errLost)
		},
		"children afterwards": func(t *testing.T, parent context.Context, cancelParent context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			c.cancel(errLost)
			cancelParent(errors.New("too late"))
			expectCause(t, family(c), errLost)
		},
		"parent": func(t *testing.T, parent context.Context, cancelParent context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			f := family(c)
			cancelParent(errLost)
			expectCause(t, f, errLost)
		},
		"parent, asked afterwards": func(t *testing.T, parent context.Context, cancelParent context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			cancelParent(errLost)
			if c.Err() != context.Canceled || context.Cause(c) != errLost || c.real != nil {
				t.Errorf("error %v, cause %v, real context %v", c.Err(), context.Cause(c), c.real)
			}
			c.cancel(errors.New("too late"))
			expectCause(t, family(c), errLost)
		},
		"over": func(t *testing.T, parent context.Context, _ context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			f := family(c)
			c.end()
			expectCause(t, f, context.Canceled)
		},
		"over, asked afterwards": func(t *testing.T, parent context.Context, _ context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			c.end()
			c.cancel(errLost)
			expectCause(t, family(c), context.Canceled)
		},
		"nothing": func(t *testing.T, parent context.Context, _ context.CancelCauseFunc) {
			c := &lazyContext{parent: parent}
			if c.Err() != nil || context.Cause(c) != nil || c.Value(nameKey{}) != "parent" {
				t.Errorf("error %v, cause %v, value %v", c.Err(), context.Cause(c), c.Value(nameKey{}))
			}
			c.end()
			if c.real != nil {
				t.Error("nobody asked for Done, and there is a real context")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancelCause(context.WithValue(context.Background(), nameKey{}, "parent"))
				defer cancel(nil)
				test(t, parent, cancel)
			})
		})
	}
}

func TestCallsShareADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 16 * time.Second
		d := &deadlines{timeout: timeout}
		begun := time.Now()
		begin := func(parent context.Context) (context.Context, context.CancelFunc) {
			return d.begin(&callContext{}, parent, time.Since(begun))
		}
		parent, cancel := context.WithCancelCause(t.Context())
		// The first call under a parent is by itself: the parent may be that of one
		// request.
		alone, end := begin(parent)
		end()
		if alone.Err() == nil {
			t.Error("a context of its own lives on after the call")
		}
		named := context.WithValue(parent, nameKey{}, "second")
		one, end := begin(named)
		end()
		<-time.After(time.Second / 2)
		two, _ := begin(parent)
		if one.Done() != two.Done() || one.Value(nameKey{}) != "second" || two.Value(nameKey{}) != nil {
			t.Error("two calls within a sixteenth: want one deadline, and the values of each")
		}
		<-time.After(time.Second / 2)
		three, _ := begin(parent)
		if three.Done() == one.Done() {
			t.Error("a call after a sixteenth has the same deadline")
		}
		_, stop := context.WithCancel(one)
		expectNoGoroutines(t)
		stop()
		f := family(one)
		if at, ok := one.Deadline(); !ok || at.Sub(begun) != timeout {
			t.Errorf("the deadline is %v", at.Sub(begun))
		}
		<-time.After(timeout - time.Second)
		expectCause(t, f, context.DeadlineExceeded)
		if three.Err() != nil {
			t.Error("the later deadline passed with the first")
		}
		f = family(three)
		cancel(errLost)
		expectCause(t, f, errLost)
		d.close()
	})
}

func TestCallsOfParentsThatAreCancelledByThemselvesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadlines{timeout: time.Second}
		one, cancelOne := context.WithCancel(t.Context())
		two, cancelTwo := context.WithCancel(t.Context())
		defer cancelTwo()
		for range 3 {
			first, endFirst := d.begin(&callContext{}, one, 0)
			second, endSecond := d.begin(&callContext{}, two, 0)
			defer endFirst()
			defer endSecond()
			defer func() {
				if first.Err() == nil || second.Err() != nil {
					t.Errorf("after the first was cancelled: %v, %v", first.Err(), second.Err())
				}
			}()
		}
		defer cancelOne()
	})
}

func TestDetachedCallsOutliveTheirParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadlines{timeout: time.Second, detached: true}
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), nameKey{}, "parent"))
		cancel()
		ctx, end := d.begin(&callContext{}, parent, 0)
		defer end()
		f := map[string]context.Context{"itself": ctx}
		expectAlive(t, f)
		if ctx.Value(nameKey{}) != "parent" {
			t.Error("the values are not the parent's")
		}
		<-time.After(time.Second)
		synctest.Wait()
		if ctx.Err() != context.DeadlineExceeded {
			t.Errorf("after the timeout: %v", ctx.Err())
		}
	})
}
