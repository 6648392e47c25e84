package crashkit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrInjected is what an effect answers where a scenario wants it to fail,
// unless Options.Err names another error.
var ErrInjected = errors.New("crashkit: injected failure")

// ErrFenced is what HappenFenced answers to a fence that is smaller than one it
// has seen.
var ErrFenced = errors.New("crashkit: refused, a larger fence was here before")

// latency is how long an effect takes, in virtual time: as for a call over a
// network, whoever does not wait for it goes on before it has happened.
const latency = time.Millisecond

// Effects is the world outside a handler: what the fakes of its downstream
// services tell of what they were asked to do. It serves one Run or Explore at a
// time; outside of them its methods count nothing and answer the context's
// error. Use one name for each call that the handler makes. It is safe for
// concurrent use.
//
// The methods behave as a client of a remote service: they answer the context's
// error, without an effect, when it has ended. Pass the handler's context, as
// the real client gets it.
type Effects struct {
	mu        sync.Mutex
	busy      bool   // in use by a Run or Explore; guarded by mu, as is the rest
	world     *world // of the scenario that runs; nil between two
	tolerated map[string]bool
}

// NewEffects returns an empty world.
func NewEffects() *Effects { return &Effects{} }

// Tolerate makes Run accept that the named effects happen twice where Once
// permits it. That they never happen is not accepted.
func (e *Effects) Tolerate(names ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tolerated == nil {
		e.tolerated = map[string]bool{}
	}
	for _, name := range names {
		e.tolerated[name] = true
	}
}

// Happen is an effect of a downstream without a guard: each call is another
// mail, another row, another charge.
func (e *Effects) Happen(ctx context.Context, name string) error {
	return e.perform(ctx, ask{effect: name, guard: Unguarded})
}

// HappenOnce is an effect of a downstream that remembers keys: a service that
// takes an idempotency key, or a table with a unique column. A key that it knows
// is answered like the first time and changes nothing. An empty key is no key.
//
// It also stands for work in one transaction with an inbox row: the key is then
// what makes the row unique, the message id for instance.
func (e *Effects) HappenOnce(ctx context.Context, name, key string) error {
	return e.perform(ctx, ask{effect: name, guard: Keyed, key: key})
}

// HappenFenced is an effect of a downstream that sets a value and keeps the
// fence of who set it: a smaller fence is refused with ErrFenced, a larger one
// sets the value again, which leaves one effect. It is the wrong model for a
// write that adds to a value: a second run after a crash has a larger fence and
// would add once more.
func (e *Effects) HappenFenced(ctx context.Context, name string, fence uint64) error {
	return e.perform(ctx, ask{effect: name, guard: Fenced, fence: fence})
}

// Count returns how often an effect has happened in the present scenario: what a
// handler that looks before it acts would find. It does not wait.
func (e *Effects) Count(name string) int {
	if w := e.present(); w != nil {
		return w.ledger.count(name)
	}
	return 0
}

// perform takes a call through the moments at which a scenario may strike. A
// request that is in flight is carried out when it arrives, even if its sender
// stood still meanwhile.
func (e *Effects) perform(ctx context.Context, a ask) error {
	w := e.present()
	if w == nil {
		return ctx.Err()
	}
	r, own := w.runOf(ctx)
	p := r.process
	p.endIfDead()
	c := w.ledger.called(a, r, own)
	defer w.ledger.ended(a.effect, r)

	p.standStill()
	if err := p.reach(ctx, moment{stage: calling, call: c}, nil); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.ledger.heedless(a.effect, r)
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.endIfDead()
	if err := p.reach(ctx, moment{stage: inFlight, call: c}, nil); err != nil {
		return err
	}
	if ctx.Err() == nil {
		w.ledger.heedless(a.effect, r)
	}
	err := w.ledger.write(a, r)
	if fault := p.reach(ctx, moment{stage: happened, call: c}, nil); fault != nil {
		return fault
	}
	return err
}

func (e *Effects) present() *world {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.world
}

// take reserves e for one Run or Explore and reports whether it was free.
func (e *Effects) take() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	free := !e.busy
	e.busy = true
	return free
}

func (e *Effects) give() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = false
}

// enter makes w, which may be nil, the present scenario.
func (e *Effects) enter(w *world) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.world = w
}

func (e *Effects) tolerates(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tolerated[name]
}
