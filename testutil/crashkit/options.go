package crashkit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// Options are the settings of Run and Explore. Nil stands for the defaults.
type Options struct {
	// Message is what the handler is given; its ID, Subject, Header and Data are
	// taken, and Raw is nil. Defaults to a message with the ID "crashkit" and the
	// Data "{}".
	Message *bus.Message
	// Dedupe are the settings of the Dedupers, as in production: the lease, the
	// policies, the key. Consumer defaults to "crashkit", Logger to one that
	// discards, the rest to what package dedupe has. ObserveOnly is refused.
	Dedupe *dedupe.Options
	// AckWait is that of the bus. Defaults to 30 s.
	AckWait time.Duration
	// Err is what an effect answers where a scenario wants it to fail: an error
	// of the real client, when the handler looks at errors. Defaults to
	// ErrInjected.
	Err error
	// NewHandler makes the handler of one process, and is called for each of the
	// two in every scenario: for handlers that keep state in memory, which a
	// crash must wipe. Defaults to the handler that Run is given, for both.
	NewHandler func() bus.Handler
	// Reset is called first in every scenario, inside its bubble: to empty what
	// the fakes of the downstream services remember. Defaults to nothing.
	Reset func()

	// newStore is Run's argument.
	newStore func() claim.Store
	// wrap puts something else in the place of a Deduper: a wrapper that is
	// broken on purpose, as a negative control. Foreign says that it was set.
	wrap    func(claim.Store) (bus.Middleware, func(context.Context) error, error)
	foreign bool
}

// maxDeliveries is after how many deliveries a scenario is given up: a handler
// that fails at once, under a Backoff of zero, would be tried without end before
// any virtual time passes.
const maxDeliveries = 10_000

// withDefaults returns a checked copy of o that is complete.
func (o *Options) withDefaults(newStore func() claim.Store, handler bus.Handler) (*Options, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	d := dedupe.Options{}
	if c.Dedupe != nil {
		d = *c.Dedupe
	}
	c.Dedupe = &d
	// The scenarios wait for these: they have to be known, as package dedupe has
	// them.
	orDefault(&d.Consumer, "crashkit")
	orDefault(&d.Lease, 30*time.Second)
	orDefault(&d.MaxRun, 15*time.Minute)
	orDefault(&d.ClaimTimeout, min(2*time.Second, d.Lease/4))
	orDefault(&d.CommitTimeout, 15*time.Second)
	orDefault(&c.AckWait, 30*time.Second)
	orDefault(&c.Err, ErrInjected)
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Message == nil {
		c.Message = &bus.Message{ID: "crashkit", Subject: "crashkit", Data: []byte("{}")}
	}
	if c.newStore = newStore; newStore == nil {
		c.newStore = newMemstore
	}
	if c.NewHandler == nil {
		c.NewHandler = func() bus.Handler { return handler }
	}
	if c.Reset == nil {
		c.Reset = func() {}
	}
	if c.foreign = c.wrap != nil; !c.foreign {
		c.wrap = c.deduper
	}
	switch {
	case handler == nil && (o == nil || o.NewHandler == nil):
		return nil, errors.New("crashkit: the handler is nil, and so is Options.NewHandler")
	case d.ObserveOnly:
		return nil, errors.New("crashkit: Options.Dedupe.ObserveOnly is set: every delivery would run, by its definition")
	}
	return &c, nil
}

func orDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func newMemstore() claim.Store {
	store, err := memstore.New(nil)
	if err != nil {
		panic(err) // the defaults of memstore are in its range
	}
	return store
}

// deduper is the usual wrap.
func (o *Options) deduper(store claim.Store) (bus.Middleware, func(context.Context) error, error) {
	d, err := dedupe.New(store, o.Dedupe)
	if err != nil {
		return nil, nil, err
	}
	return d.Wrap, d.Close, nil
}

// patience is how long a scenario may take, in virtual time.
func (o *Options) patience() time.Duration { return 20 * o.round() }

// round is longer than anything that a process waits for by its settings.
func (o *Options) round() time.Duration {
	return o.Dedupe.MaxRun + o.Dedupe.CommitTimeout + 4*o.Dedupe.Lease + 2*o.AckWait
}

// rest is longer than any fault that delays a call.
func (o *Options) rest() time.Duration { return time.Minute + 3*o.Dedupe.Lease + 3*o.AckWait }
