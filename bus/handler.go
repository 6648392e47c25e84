package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Handler processes one delivery. Its error says how to settle it; see the
// package documentation. It must not keep m after it returned.
type Handler func(ctx context.Context, m *Message) error

// Middleware wraps a Handler with another.
type Middleware func(Handler) Handler

// BatchHandler processes deliveries together and returns one error for each, in
// their order.
type BatchHandler func(ctx context.Context, batch []*Message) []error

// ErrGoexit is how a handler failed that left its goroutine by runtime.Goexit,
// as a test's FailNow does.
var ErrGoexit = errors.New("bus: handler left its goroutine (runtime.Goexit)")

// ErrBatchResult is how a batch failed whose handler did not return one error for
// each message.
var ErrBatchResult = errors.New("bus: batch handler returned a wrong number of errors")

// PanicError is how a handler failed that panicked. It does not unwrap to the
// value: a panic asks for a retry, whatever it was thrown with.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the stack of the panic.
	Stack []byte
}

// Error returns the value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("bus: handler panicked: %v", e.Value) }

// Guard calls run and then, exactly once, end with run's error. A panic of run
// ends as *PanicError and goes no further; a runtime.Goexit ends as ErrGoexit
// and, since it cannot be stopped, takes the goroutine with it after end.
func Guard(run func() error, end func(error)) {
	returned := false
	var err error
	defer func() {
		if !returned {
			err = ErrGoexit
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}
		end(err)
	}()
	err = run()
	returned = true
}

// Serve calls h for m and hands the settlement of the delivery to settle,
// exactly once, whatever h does. Every adapter runs its handlers through it. A
// goroutine that calls Serve in a loop must be replaced when it ends early: h
// may take it away by runtime.Goexit.
func Serve(ctx context.Context, h Handler, m *Message, settle func(Settlement)) {
	Guard(func() error { return h(ctx, m) }, func(err error) { settle(SettlementOf(err)) })
}

// ServeBatch is Serve for a batch: it calls settle once for each message, by its
// index. A handler that panics, leaves its goroutine or returns a wrong number
// of errors failed for every message, for nobody knows which ones it finished.
func ServeBatch(ctx context.Context, h BatchHandler, batch []*Message, settle func(int, Settlement)) {
	var errs []error
	Guard(func() error {
		errs = h(ctx, batch)
		if len(errs) != len(batch) {
			return fmt.Errorf("%w: %d for %d messages", ErrBatchResult, len(errs), len(batch))
		}
		return nil
	}, func(err error) {
		for i := range batch {
			if err != nil {
				settle(i, SettlementOf(err))
			} else {
				settle(i, SettlementOf(errs[i]))
			}
		}
	})
}
