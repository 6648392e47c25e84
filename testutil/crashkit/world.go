package crashkit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/membus"
)

// world is what a scenario is played in: a bus with one message, a store, and two
// processes. The first is the one that faults strike.
type world struct {
	opts    *Options
	ledger  *ledger
	shelf   *shelf
	bus     *membus.Bus
	a, b    *process
	outside map[*process]*run // stands for calls that belong to no run

	// alone keeps the second process out: redeliveries come to the first.
	alone bool
	// checks tell whether the fault of the scenario met anything; struck is what
	// they and the traps said in the end.
	checks []func() bool
	struck bool
	// healers end faults that are not rules of a link.
	healers []func()

	first  chan struct{} // closed when the message has been delivered once
	over   chan struct{} // closed when nobody is to wait any more
	giveUp context.CancelFunc
	extras sync.WaitGroup

	mu         sync.Mutex
	last       *process    // guarded by mu, as is the rest
	message    bus.Message // as it was delivered last
	deliveries int
	err        error // with which the last delivery was not acknowledged
	early      bool  // a delivery was acknowledged before a completion was recorded
}

func newWorld(o *Options) (*world, error) {
	o.Reset()
	w := &world{opts: o, ledger: newLedger(), shelf: &shelf{store: o.newStore()},
		first: make(chan struct{}), over: make(chan struct{})}
	var err error
	if w.bus, err = membus.New(&membus.Options{AckWait: o.AckWait}); err != nil {
		return nil, err
	}
	if w.a, err = newProcess(w, true); err != nil {
		return nil, err
	}
	if w.b, err = newProcess(w, false); err != nil {
		return nil, err
	}
	w.outside = map[*process]*run{w.a: outsideRun(w.a), w.b: outsideRun(w.b)}
	return w, nil
}

// play plays the scenario for which the world was arranged, to its end. It
// returns false when a handler did not return, whatever was done to its context.
func (w *world) play(quiet bool) (ended bool) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	wait, giveUp := context.WithTimeout(ctx, w.opts.patience())
	defer giveUp()
	w.giveUp = giveUp
	consumed := make(chan error, 1)
	go func() {
		consumed <- w.bus.Consume(ctx, w.dispatch, &membus.ConsumeOptions{Workers: maxDeliveries, DrainTimeout: w.opts.round()})
	}()
	_ = w.bus.Publish(ctx, *w.opts.Message)
	settled := w.bus.Drained(wait) == nil
	close(w.over)
	stop()
	if <-consumed != nil {
		w.heal()
		_ = w.close()
		return false
	}
	w.extras.Wait()
	w.struck = w.a.armed() == 0 && !slices.ContainsFunc(w.checks, func(met func() bool) bool { return !met() })
	w.heal()
	if settled && !quiet {
		w.ledger.settle()
		for _, p := range []*process{w.a, w.b} {
			if p.up() {
				w.repeat(p)
			}
		}
	}
	// Whatever the handler has begun and does not wait for comes to its end.
	time.Sleep(w.opts.rest())
	return w.close()
}

// close ends both processes as a shutdown does.
func (w *world) close() (ended bool) {
	ctx, cancel := context.WithTimeout(context.Background(), w.opts.round())
	defer cancel()
	return errors.Join(w.a.close(ctx), w.b.close(ctx)) == nil
}

// dispatch hands a delivery of the bus to a process.
func (w *world) dispatch(ctx context.Context, m *bus.Message) error {
	w.mu.Lock()
	if w.deliveries++; w.deliveries == 1 {
		w.message = *m
		close(w.first)
	}
	if w.deliveries > maxDeliveries {
		w.mu.Unlock()
		w.giveUp()
		return bus.Abandon(errors.New("crashkit: given up"))
	}
	p := w.next()
	w.mu.Unlock()
	if p == nil {
		return bus.Abandon(errors.New("crashkit: no process is up"))
	}
	err := p.serve(ctx, m)
	if err != nil && !p.isDead() {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return err
}

// acked notes that a process acknowledges a delivery.
func (w *world) acked() {
	if !w.shelf.recorded() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.early = true
	}
}

// next returns the process whose turn it is: the other one than before, if it is
// up; nil when none is. The lock is held.
func (w *world) next() *process {
	order := []*process{w.a, w.b}
	if w.last == w.a && !w.alone {
		slices.Reverse(order)
	}
	for _, p := range order {
		if p.up() {
			w.last = p
			return p
		}
	}
	return nil
}

// repeat delivers the message to p once more, as a bus does that has forgotten
// that it was settled, and as often as p asks for.
func (w *world) repeat(p *process) {
	<-w.first
	w.mu.Lock()
	m := w.message
	w.mu.Unlock()
	m.KeepAlive, m.AckWait = nil, 0
	for range 20 {
		m.Delivery++
		s := bus.SettlementOf(p.serve(context.Background(), &m))
		switch {
		case p.isDead(), s.Action == bus.ActionAck, s.Action == bus.ActionReject:
			return
		case s.HasDelay:
			time.Sleep(max(s.Delay, latency))
		default:
			time.Sleep(w.opts.AckWait)
		}
	}
}

// extra delivers the message to p once more, beside what else goes on.
func (w *world) extra(p *process) { w.extras.Go(func() { w.repeat(p) }) }

// heal ends all faults.
func (w *world) heal() {
	for _, p := range []*process{w.a, w.b} {
		p.disarm()
		p.link.Reset()
		p.deaf.Store(false)
	}
	for _, end := range w.healers {
		end()
	}
}

// runOf returns the run to which a call with ctx belongs, and whether ctx says
// so. A context that does not is taken to be that of the latest run.
func (w *world) runOf(ctx context.Context) (r *run, own bool) {
	if r, ok := ctx.Value(runKey{}).(*run); ok {
		return r, true
	}
	if p, ok := ctx.Value(processKey{}).(*process); ok {
		return w.outside[p], true
	}
	if r := w.ledger.latest(); r != nil {
		return r, false
	}
	return w.outside[w.a], false
}

func outsideRun(p *process) *run { return &run{process: p, counts: map[string]int{}} }
