package sequences

import (
	"fmt"
	"runtime"
)

// recorder is a rapid.TB that keeps the first failure to itself.
type recorder struct{ message string }

// failureOf runs check, in a goroutine that it may end, and returns the message
// of its failure, or "".
func failureOf(check func(r *recorder)) string {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	return r.message
}

func (*recorder) Helper()                     {}
func (*recorder) Name() string                { return "recorder" }
func (*recorder) Log(...any)                  {}
func (*recorder) Logf(string, ...any)         {}
func (*recorder) Skip(...any)                 { runtime.Goexit() }
func (*recorder) Skipf(string, ...any)        { runtime.Goexit() }
func (*recorder) SkipNow()                    { runtime.Goexit() }
func (r *recorder) Error(args ...any)         { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any)         { r.Error(args...); r.FailNow() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); r.FailNow() }
func (r *recorder) Fail()                     { r.fail("failed") }
func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }
func (r *recorder) Failed() bool              { return r.message != "" }

func (r *recorder) fail(message string) {
	if r.message == "" {
		r.message = message
	}
}
