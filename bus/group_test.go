package bus_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/bus"
)

type contextKey struct{}

func TestGroupLetsHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "value"))
		g, hctx := bus.NewGroup(ctx)
		cancel()
		if hctx.Err() != nil || hctx.Value(contextKey{}) != "value" {
			t.Errorf("the handlers' context: %v, value %v", hctx.Err(), hctx.Value(contextKey{}))
		}
		finished := false
		g.Go(func() {
			<-time.After(59 * time.Second)
			finished = hctx.Err() == nil
		})
		g.Go(runtime.Goexit)
		if err := g.Drain(time.Minute); err != nil || !finished {
			t.Errorf("drained with %v, finished %t", err, finished)
		}
		if hctx.Err() == nil {
			t.Error("the context lives on after the drain")
		}
	})
}

func TestGroupTellsHandlersThatTheTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hctx := bus.NewGroup(t.Context())
		start := time.Now()
		g.Go(func() {
			<-hctx.Done()
			if !errors.Is(context.Cause(hctx), bus.ErrDrainTimeout) {
				t.Errorf("cause %v", context.Cause(hctx))
			}
		})
		if err := g.Drain(time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

func TestGroupLeavesADeafHandlerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := bus.NewGroup(t.Context())
		release := make(chan struct{})
		g.Go(func() { <-release })
		start := time.Now()
		err := g.Drain(time.Minute)
		if !errors.Is(err, bus.ErrDrainTimeout) || !strings.Contains(err.Error(), "1 still run") || g.Running() != 1 {
			t.Errorf("drained with %v, %d running", err, g.Running())
		}
		if took := time.Since(start); took != time.Minute+5*time.Second {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}
