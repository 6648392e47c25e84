package crashkit

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
)

// process is one of the two consumers in a scenario: a Deduper around the user's
// handler, with a link of its own to the store. It can die and stand still.
type process struct {
	first   bool // the one that faults strike, world.a
	world   *world
	link    *faultstore.Store
	handler bus.Handler // the user's
	wrapped bus.Handler // the same, in a Deduper
	close   func(context.Context) error
	dead    chan struct{}
	deaf    atomic.Bool // the bus does not hear its keep-alives

	mu       sync.Mutex
	traps    map[moment][]trap // guarded by mu, as is the rest
	frozen   chan struct{}     // closed when the process goes on; nil while it moves
	stopping bool              // takes no more messages
	cancels  []context.CancelCauseFunc
}

type processKey struct{}

func newProcess(w *world, first bool) (*process, error) {
	p := &process{
		first: first, world: w, link: faultstore.New(trips(w.shelf.apply)), handler: w.opts.NewHandler(),
		dead: make(chan struct{}), traps: map[moment][]trap{},
	}
	wrap, stop, err := w.opts.wrap(trips(p.gate))
	if err != nil {
		return nil, err
	}
	p.wrapped, p.close = wrap(p.run), stop
	return p, nil
}

// serve takes a delivery through the process and returns what the bus hears.
func (p *process) serve(ctx context.Context, m *bus.Message) error {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, processKey{}, p))
	defer cancel(nil)
	p.mu.Lock()
	p.cancels = append(p.cancels, cancel)
	p.mu.Unlock()

	answer := make(chan error, 1)
	go bus.Guard(func() error {
		_ = p.reach(ctx, on(received), nil)
		err := p.wrapped(ctx, p.message(m))
		if err == nil {
			if lost := p.reach(ctx, on(acking), nil); lost != nil {
				return bus.Abandon(lost)
			}
			p.world.acked()
		}
		return err
	}, func(err error) { answer <- err })

	var err error
	select {
	case <-p.dead:
	case err = <-answer:
		_ = p.reach(ctx, on(left), nil)
	}
	if p.isDead() {
		return bus.Abandon(errCrashed)
	}
	return err
}

// message returns m as the process has it: its way to the bus ends with the
// process, and stands still with it.
func (p *process) message(m *bus.Message) *bus.Message {
	if m.KeepAlive == nil {
		return m
	}
	gated := *m
	gated.KeepAlive = func(ctx context.Context) error {
		if thawed := p.standing(); thawed != nil {
			select {
			case <-thawed:
			case <-ctx.Done():
			}
		}
		if p.isDead() || p.deaf.Load() {
			return errCrashed
		}
		return m.KeepAlive(ctx)
	}
	return &gated
}

// run is what the Deduper calls: the user's handler, with the run in its context.
func (p *process) run(ctx context.Context, m *bus.Message) error {
	r := p.world.ledger.begin(ctx, p)
	err := errNotReturned
	defer func() { p.world.ledger.end(r, err) }()
	_ = p.reach(ctx, on(started), nil)
	err = p.handler(context.WithValue(ctx, runKey{}, r), m)
	return err
}

// up reports whether the bus may hand the process a message.
func (p *process) up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen == nil && !p.stopping && !p.isDead()
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// crash kills the process, in the goroutine that reached the moment for it.
func (p *process) crash() {
	close(p.dead)
	runtime.Goexit()
}

// endIfDead ends the goroutine if its process is dead.
func (p *process) endIfDead() {
	if p.isDead() {
		runtime.Goexit()
	}
}

// freeze makes the process stand still, as SIGSTOP does, until thaw is called:
// its operations wait on their way, and so do its effects and its keep-alives.
func (p *process) freeze() (thaw func()) {
	frozen := make(chan struct{})
	p.mu.Lock()
	p.frozen = frozen
	p.mu.Unlock()
	release := p.link.Hold(faultstore.Any)
	return func() {
		p.mu.Lock()
		p.frozen = nil
		p.mu.Unlock()
		close(frozen)
		release()
	}
}

// standing returns the channel that is closed when the process goes on, or nil
// when it moves.
func (p *process) standing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen
}

// standStill waits while the process stands still.
func (p *process) standStill() {
	if thawed := p.standing(); thawed != nil {
		<-thawed
	}
}

// stop shuts the process down: its handlers' contexts end.
func (p *process) stop(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	for _, cancel := range p.cancels {
		cancel(cause)
	}
}

// disarm removes all traps.
func (p *process) disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.traps)
}

// struck reports whether a rule of the link met an operation of a kind.
func (p *process) struck(kind claim.OpKind) bool {
	for _, c := range p.link.Calls() {
		if (c.Fault != faultstore.None || c.Held) && (kind == faultstore.Any || c.Op.Kind == kind) {
			return true
		}
	}
	return false
}
