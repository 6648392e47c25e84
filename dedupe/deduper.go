package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Deduper makes handlers take effect once. It is safe for concurrent use. Make
// one for each consumer with New, and Close it.
type Deduper struct {
	store claim.Store
	opts  Options
	count counters

	epoch    time.Time // where now counts from
	claims   deadlines
	commits  deadlines
	memory   *memory
	flights  *flights
	circuit  *circuit
	keeper   *keeper
	finished *finished

	// shortcut says that remembers may answer: nobody is to be told of it.
	shortcut bool

	active  atomic.Int64
	closing atomic.Bool
	drained chan struct{}
	drain   sync.Once

	// abort ends what the Deduper's own goroutines are doing.
	abort   context.Context
	stop    context.CancelFunc
	mu      sync.Mutex // guards stopped, so that no helper starts while Close waits
	stopped bool
	helpers sync.WaitGroup
}

// New returns a Deduper on store, with the settings of o; nil options are not
// enough, because Options.Consumer has no default. It returns an error that names
// each option that does not fit, and logs what is allowed and may still surprise;
// see Findings. New does not talk to the store.
func New(store claim.Store, o *Options) (*Deduper, error) {
	if store == nil {
		return nil, errors.New("dedupe: the store is nil")
	}
	d := &Deduper{store: store, opts: o.withDefaults(), epoch: time.Now(), drained: make(chan struct{})}
	if err := d.opts.validate(); err != nil {
		return nil, err
	}
	for _, f := range d.opts.findings() {
		d.opts.Logger.Warn("dedupe: check of the settings", "consumer", d.opts.Consumer, "finding", f)
	}
	d.abort, d.stop = context.WithCancel(context.Background())
	d.claims.timeout = d.opts.ClaimTimeout
	d.commits.timeout, d.commits.detached = d.opts.CommitTimeout, true
	d.memory = newMemory(d.opts.MemorySize, d.opts.MemoryTTL, d.opts.Namespace)
	d.shortcut = !d.opts.ObserveOnly && d.opts.Observer.Decided == nil && d.opts.Observer.Settled == nil
	d.flights = newFlights()
	d.circuit = &circuit{threshold: d.opts.CircuitThreshold, first: d.opts.CircuitCooldown,
		cooldown: d.opts.CircuitCooldown, changed: d.circuitChanged}
	d.keeper = newKeeper(store, &d.opts, d.now, d.leaseEnded)
	d.finished = &finished{d: d, works: map[claim.Digest]*work{}}
	return d, nil
}

// Options returns the settings of the Deduper, with the defaults in their places.
func (d *Deduper) Options() Options { return d.opts }

// Findings returns what New found in the settings that is allowed and may still
// surprise, in words.
func (d *Deduper) Findings() []string { return d.opts.findings() }

// Close refuses further messages with ErrClosed and waits until those in progress
// have ended. When ctx ends first it cancels their handlers' contexts with the
// cause ErrClosed, stops keeping leases, and returns an error that says how many
// were left. In any case no goroutine of the Deduper is left, except those of
// handlers that do not heed their context. Close may be called more than once.
func (d *Deduper) Close(ctx context.Context) error {
	first := !d.closing.Swap(true)
	if d.active.Load() == 0 {
		d.drain.Do(func() { close(d.drained) })
	}
	var err error
	select {
	case <-d.drained:
	case <-ctx.Done():
		err = fmt.Errorf("dedupe: Close of consumer %q with %d messages in progress: %w",
			d.opts.Consumer, d.active.Load(), ctx.Err())
	}
	if !first {
		return err
	}
	d.keeper.close(ErrClosed)
	d.finished.flush(ctx)
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.stop()
	d.claims.close()
	d.commits.close()
	d.helpers.Wait()
	return err
}

// help runs f in a goroutine for which Close waits, unless Close has begun to.
func (d *Deduper) help(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.helpers.Go(f)
	}
}

// enter counts n messages in, or says how they are settled when the Deduper is
// closed or busy. A batch larger than MaxLive is let in alone.
func (d *Deduper) enter(n int) error {
	active := d.active.Add(int64(n))
	switch {
	case d.closing.Load():
		d.exit(n)
		return bus.RetryAfter(ErrClosed, jitter(d.opts.CircuitCooldown))
	case active > int64(d.opts.MaxLive) && active > int64(n):
		d.exit(n)
		d.count.busy.Add(int64(n))
		return bus.RetryAfter(ErrBusy, jitter(d.opts.CircuitCooldown))
	}
	return nil
}

func (d *Deduper) exit(n int) {
	if d.active.Add(-int64(n)) == 0 && d.closing.Load() {
		d.drain.Do(func() { close(d.drained) })
	}
}

// now returns the time since the Deduper was made, on the monotonic clock: half
// the size of a time.Time, and cheaper to read.
func (d *Deduper) now() time.Duration { return time.Since(d.epoch) }

func (d *Deduper) circuitChanged(open bool) {
	if open {
		d.opts.Logger.Error("dedupe: claim store gives no answers, leaving it alone for a while",
			"consumer", d.opts.Consumer, "policy", d.opts.StoreDown.String())
	} else {
		d.opts.Logger.Info("dedupe: claim store answers again", "consumer", d.opts.Consumer)
	}
	if f := d.opts.Observer.Circuit; f != nil {
		f(open)
	}
}

func (d *Deduper) leaseEnded(cause error) {
	if errors.Is(cause, ErrMaxRun) {
		d.count.maxRunExceeded.Add(1)
	} else {
		d.count.leasesLost.Add(1)
	}
	d.opts.Logger.Warn("dedupe: handler cancelled", "consumer", d.opts.Consumer, "cause", cause)
	if f := d.opts.Observer.LeaseEnded; f != nil {
		f(cause)
	}
}

// decided tells the Observer of a decision about a.
func (d *Deduper) decided(ctx context.Context, a *attempt, e Decision) {
	if f := d.opts.Observer.Decided; f != nil {
		e.Elapsed = d.now() - a.begun
		f(ctx, e)
	}
}

// settled tells the Observer how a ended.
func (d *Deduper) settled(ctx context.Context, a *attempt, err error) {
	if f := d.opts.Observer.Settled; f != nil {
		s := bus.SettlementOf(err)
		f(ctx, Settled{Action: s.Action, Delay: s.Delay, Err: err, Elapsed: d.now() - a.begun})
	}
}
