package claim

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// flight is a batch of a Combiner: it gathers operations, departs and lands. The
// Combiner's lock guards it until it departs; then its seats and ops are the
// Batcher's, until it has landed.
type flight struct {
	// seats are copies of the operations: the callers may be gone, with all that
	// is theirs, before the Batcher is done. Vacant ones have no Kind.
	seats  []Op
	vacant []int
	ops    []*Op // those that departed

	landed  chan struct{} // closed when all have their answers; nil when the caller flies itself
	timer   *time.Timer   // that makes it overdue
	overdue bool

	riders    int       // callers that wait for it
	deadline  time.Time // the latest of theirs
	unlimited bool      // one has none
	ctx       context.Context
	cancel    context.CancelFunc

	applied  bool
	panicked *panicError

	// holders may look at the flight still; the last puts it back.
	holders atomic.Int32
}

// flights holds what has no channel, timer or context in it: those belong to one
// bubble of testing/synctest and must not turn up in another.
var flights = sync.Pool{New: func() any { return new(flight) }}

// maxKeptSeats bounds what a flight in the pool holds on to.
const maxKeptSeats = 1024

// newFlight returns a flight that its maker holds.
func newFlight() *flight {
	f := flights.Get().(*flight)
	f.holders.Store(1)
	return f
}

// release ends a hold on f.
func (f *flight) release() {
	if f.holders.Add(-1) > 0 || cap(f.seats) > maxKeptSeats {
		return
	}
	clear(f.seats)
	clear(f.ops)
	f.seats, f.vacant, f.ops = f.seats[:0], f.vacant[:0], f.ops[:0]
	f.landed, f.timer, f.overdue = nil, nil, false
	f.riders, f.deadline, f.unlimited, f.ctx, f.cancel = 0, time.Time{}, false, nil, nil
	f.applied, f.panicked = false, nil
	flights.Put(f)
}

// gathers reports whether f has not departed.
func (f *flight) gathers() bool { return f.ctx == nil }

// board gives op a seat, and its caller a hold on f.
func (f *flight) board(ctx context.Context, op *Op) (seat int) {
	f.riders++
	f.holders.Add(1)
	if d, ok := ctx.Deadline(); !ok {
		f.unlimited = true
	} else if d.After(f.deadline) {
		f.deadline = d
	}
	if n := len(f.vacant); n > 0 {
		seat, f.vacant = f.vacant[n-1], f.vacant[:n-1]
		f.seats[seat] = *op
	} else {
		seat = len(f.seats)
		f.seats = append(f.seats, *op)
	}
	// The rest of an operation cannot be changed by its caller.
	if c := &f.seats[seat].Completion; len(c.Result) > MaxResultBytes {
		c.Result, c.Omitted = nil, true
	} else {
		c.Result = bytes.Clone(c.Result)
	}
	return seat
}

// vacate takes an operation out of f before it departs.
func (f *flight) vacate(seat int) {
	f.seats[seat] = Op{}
	f.vacant = append(f.vacant, seat)
	f.riders--
}

// depart ends the gathering. Claims go last, behind what makes them answerable:
// operations of callers that wait at the same time have no order.
func (f *flight) depart() {
	for _, claims := range [...]bool{false, true} {
		for i := range f.seats {
			if op := &f.seats[i]; op.Kind != 0 && (op.Kind == OpTryClaim) == claims {
				f.ops = append(f.ops, op)
			}
		}
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.unlimited {
		f.ctx, f.cancel = context.WithCancel(context.Background())
	} else {
		f.ctx, f.cancel = context.WithDeadline(context.Background(), f.deadline)
	}
}

// abandon takes a caller off a flight that is out. The last one ends it.
func (f *flight) abandon() {
	if f.riders--; f.riders == 0 {
		f.cancel()
	}
}

// fly carries f to the Batcher.
func (c *Combiner) fly(f *flight) {
	defer c.land(f)
	c.batcher.Apply(f.ctx, f.ops)
	f.applied = true
}

// land gives out the answers of f, which has been applied, unless the Batcher
// panicked or ended the goroutine.
func (c *Combiner) land(f *flight) {
	if !f.applied {
		if v := recover(); v != nil {
			f.panicked = &panicError{v, debug.Stack()}
		}
		for _, op := range f.ops {
			op.Fail(Unknown(errNoReturn))
		}
	}
	f.cancel()
	close(f.landed)
	// Let the callers, who are awake now, come back with their next operations,
	// so that those leave together: the first alone would make all others wait
	// for its trip.
	runtime.Gosched()
	c.home(len(f.ops))
	f.release()
}

// answer copies the answer of a seat to its caller's operation.
func (f *flight) answer(seat int, op *Op) {
	if f.panicked != nil {
		panic(f.panicked)
	}
	from := &f.seats[seat]
	op.Verdict, op.Recovered, op.Err = from.Verdict, from.Recovered, from.Err
}

// errNoReturn is what is known of operations whose Batcher ended its goroutine.
var errNoReturn = fmt.Errorf("the store did not return")

// panicError is what the callers panic with when the Batcher did so in another
// goroutine.
type panicError struct {
	value any
	stack []byte
}

// Error returns the Batcher's panic and where it happened.
func (p *panicError) Error() string {
	return fmt.Sprintf("claim: the store panicked: %v\n\n%s", p.value, p.stack)
}

// Unwrap returns the value of the panic, if that is an error.
func (p *panicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
