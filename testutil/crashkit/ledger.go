package crashkit

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/oncebus/once/dedupe"
)

// errNotReturned is how a run ended that panicked, or whose goroutine ended.
var errNotReturned = errors.New("crashkit: the handler did not return")

// run is one call of the user's handler.
type run struct {
	process   *process
	gone      <-chan struct{} // the handler's context has ended
	goroutine string          // in which the handler was called
	fence     uint64          // of the claim; 0 without one

	counts   map[string]int // of calls, by effect; guarded by the ledger, as is the rest
	returned bool
	err      error
	repeated bool // begun after the message had been settled for good
}

type runKey struct{}

// ledger is what happened in a scenario: the runs of the handler, and each
// effect.
type ledger struct {
	// naming makes it note which goroutines call, which takes its time.
	naming bool

	mu      sync.Mutex
	runs    []*run            // guarded by mu, as is the rest
	tallies map[string]*tally // by effect
	names   []string          // in the order of their first call
	calls   []recordedCall    // those of the first run
	settled bool              // the message has been settled; what comes now repeats it
	reran   bool              // and the handler was called all the same
}

// recordedCall is a call in the order in which the first run made it.
type recordedCall struct {
	call
	// inline says that the handler's own goroutine made it. A panic in another
	// one ends the whole program, here as in production.
	inline bool
}

func newLedger() *ledger { return &ledger{tallies: map[string]*tally{}} }

// caller returns the name of the calling goroutine if it is to be noted.
func (l *ledger) caller() string {
	if l.naming {
		return goroutine()
	}
	return ""
}

func (l *ledger) begin(ctx context.Context, p *process) *run {
	r := &run{process: p, gone: ctx.Done(), goroutine: l.caller(), fence: dedupe.FenceFrom(ctx), counts: map[string]int{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.repeated = l.settled; r.repeated && !l.reran {
		// What has not happened by now was lost, though this run may make up for it.
		l.reran = true
		for _, t := range l.tallies {
			t.inTime = t.happened
		}
	}
	l.runs = append(l.runs, r)
	return r
}

// settle notes that the message has been settled.
func (l *ledger) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
}

// end notes how r ended. A process that died in a goroutine of the handler's own
// has not come to the end of the handler, though this one may have.
func (l *ledger) end(r *run, err error) {
	if r.process.isDead() {
		err = errNotReturned
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.returned, r.err = true, err
}

// latest returns the run that began last, or nil.
func (l *ledger) latest() *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.runs) == 0 {
		return nil
	}
	return l.runs[len(l.runs)-1]
}

// called notes that r makes a call, and which one. Own says that the call came
// with a context by which r is known.
func (l *ledger) called(a ask, r *run, own bool) call {
	inline := r.goroutine == l.caller()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tallies[a.effect]
	if t == nil {
		t = &tally{effect: a.effect, guard: a.guard, asked: map[string]bool{}, known: map[string]bool{}}
		l.tallies[a.effect] = t
		l.names = append(l.names, a.effect)
	}
	t.note(a)
	t.foreign = t.foreign || !own
	r.counts[a.effect]++
	c := call{a.effect, r.counts[a.effect]}
	if len(l.runs) > 0 && r == l.runs[0] {
		l.calls = append(l.calls, recordedCall{c, inline})
	}
	return c
}

// heedless notes that r's handler calls an effect with a context that lives on
// although its own has ended.
func (l *ledger) heedless(effect string, r *run) {
	select {
	case <-r.gone:
	default:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.returned {
		l.tallies[effect].heedless = true
	}
}

// ended notes a call that came to its end after its run.
func (l *ledger) ended(effect string, r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.returned && !r.process.isDead() {
		l.tallies[effect].late = true
	}
}

// write lets an effect happen, as far as its guard permits.
func (l *ledger) write(a ask, r *run) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tallies[a.effect].write(a, r)
}

func (l *ledger) count(effect string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.tallies[effect]; t != nil {
		return t.happened
	}
	return 0
}

// summary returns a copy of what is known of each effect, in the order of their
// first call.
func (l *ledger) summary() []tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []tally
	for _, name := range l.names {
		t := *l.tallies[name]
		if !l.reran {
			t.inTime = t.happened
		}
		all = append(all, t)
	}
	return all
}

// history returns copies of the runs.
func (l *ledger) history() []run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []run
	for _, r := range l.runs {
		all = append(all, *r)
	}
	return all
}

// order returns the calls of the first run.
func (l *ledger) order() []recordedCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// goroutine returns the name of the calling goroutine, the only thing by which
// the call of an effect in a goroutine of the handler's own can be told from one
// in the handler itself.
func goroutine() string {
	var buf [64]byte
	stack := buf[:runtime.Stack(buf[:], false)]
	name, _, _ := bytes.Cut(stack, []byte(" ["))
	return string(name)
}
