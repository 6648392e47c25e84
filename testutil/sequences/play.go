package sequences

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

// realUnit is the Unit below which a harness has a real clock, as in claimtest.
const realUnit = time.Second

// advanceUnits is how far every advance goes on a real clock. It is past the
// last timer that may be left: a delay or a lease of a unit and a retention of
// one after it.
const advanceUnits = 4

// inventedFence is that of a token without a grant. It is far below the fences
// of any clock.
const inventedFence = 7

// playground is one store on which sequences are played one after the other,
// each with keys of its own.
type playground struct {
	*claimtest.Harness
	ctx       context.Context
	real      bool
	single    claim.Store     // the store without its Batcher
	inspector claim.Inspector // nil if it is none

	sequences, operations int // so far
}

func newPlayground(ctx context.Context, h *claimtest.Harness) (*playground, error) {
	switch {
	case h.Store == nil || h.Advance == nil:
		return nil, fmt.Errorf("sequences: Harness.Store and Harness.Advance must be set")
	case h.Unit < claim.MinTTL || h.Unit > claim.MaxTTL/(10*drawnOut):
		return nil, fmt.Errorf("sequences: Harness.Unit is %v, want %v to %v", h.Unit, claim.MinTTL, claim.MaxTTL/(10*drawnOut))
	}
	g := &playground{Harness: h, ctx: ctx, real: h.Unit < realUnit}
	g.inspector, _ = h.Store.(claim.Inspector)
	g.single = struct{ claim.Store }{h.Store}
	if g.inspector != nil {
		g.single = struct {
			claim.Store
			claim.Inspector
		}{h.Store, g.inspector}
	}
	return g, nil
}

// namespaces keeps the keys of all sequences in a process apart, since harnesses
// may share a server.
var namespaces atomic.Int64

// player plays one sequence.
type player struct {
	*playground
	namespace string
	sequence  sequence      // the steps so far
	started   time.Time     // before the first operation
	advanced  time.Duration // by Advance, since then
	now       claim.Instant // the reference's time
	keys      map[byte]*held
	order     []*held // keys, in the order of their first use
	chunk     *chunk  // of the last key that got a place
	played    []claim.Op
}

// held is what the reference knows of a key.
type held struct {
	name   byte
	key    claim.Key
	record claim.Record
	grants map[claim.Token]claim.Grant // the last one of each token
	top    uint64                      // the highest fence of a grant
	topAt  claim.Instant               // when it was granted

	finisher claim.Grant // of the last completion that was recorded
	chunk    *chunk      // nil where keys have no places
}

// referenceStart is the reference's time where a store does not tell its own.
const referenceStart = claim.Instant(1_784_000_000_000_000)

// newPlayer returns a player for a new sequence.
func (g *playground) newPlayer() (*player, error) {
	g.sequences++
	p := &player{
		playground: g,
		namespace:  fmt.Sprintf("sequence-%d", namespaces.Add(1)),
		started:    time.Now(),
		now:        referenceStart,
		keys:       map[byte]*held{},
	}
	if g.inspector != nil {
		entry, err := g.inspector.Get(g.ctx, p.held('a').key)
		if err != nil {
			return nil, fmt.Errorf("sequences: before the first step: %w", err)
		}
		p.now = entry.Now
	}
	return p, nil
}

// play plays a whole sequence and returns the first difference.
func (g *playground) play(q sequence) error {
	p, err := g.newPlayer()
	if err != nil {
		return err
	}
	for i, end := 0, 0; i < len(q); i = end {
		for end = i + 1; end < len(q) && q[end].joined && q[end].verb != verbAdvance && q[i].verb != verbAdvance; {
			end++
		}
		if err := p.play(q[i:end]); err != nil {
			return fmt.Errorf("%w\n%v", err, p.sequence)
		}
	}
	return nil
}

// play carries out the next step, or several in one batch, on the store and on
// the reference, and returns the first difference.
func (p *player) play(q sequence) error {
	p.sequence = append(p.sequence, q...)
	if err := p.steps(q); err != nil {
		return fmt.Errorf("step %d: %w", len(p.sequence), err)
	}
	return nil
}

// steps plays a step, or several in one batch.
func (p *player) steps(q sequence) error {
	if q[0].verb == verbAdvance {
		p.advance(q[0].ttl)
		return nil
	}
	var batch []*claim.Op
	for _, s := range q {
		op := p.resolve(s)
		if op == nil || p.frozen(p.heldOf(op.Key)) {
			continue
		}
		if p.inspector == nil && (op.Kind == claim.OpForget || op.Kind == claim.OpRevive) {
			continue
		}
		// A real clock moves within a batch. What an operation on a key leaves
		// behind must be known before the next one on it is sent.
		if p.real && slices.ContainsFunc(batch, func(o *claim.Op) bool { return o.Key == op.Key }) {
			continue
		}
		batch = append(batch, op)
	}
	if len(batch) == 0 {
		return nil
	}
	p.send(batch)
	for _, op := range batch {
		p.played = append(p.played, *op)
		if err := p.judge(op); err != nil {
			return fmt.Errorf("%v of key %c: %w", op.Kind, p.heldOf(op.Key).name, err)
		}
	}
	return p.compareRecords(batch)
}

// send carries out a batch, or one operation by the method of its kind.
func (p *player) send(batch []*claim.Op) {
	p.operations += len(batch)
	if len(batch) > 1 {
		claim.Apply(p.ctx, p.Store, batch)
		return
	}
	claim.Apply(p.ctx, p.single, batch)
}

// advance moves both clocks. A real one is waited for when a timer can run out.
func (p *player) advance(by span) {
	d := by.on(p.Unit, false)
	if p.real {
		if !slices.ContainsFunc(p.order, p.frozen) {
			return
		}
		d = advanceUnits * p.Unit
	}
	p.Advance(d)
	p.advanced += d
	p.now = p.now.Add(d)
}

// frozen reports whether a timer of the key may or may not have run out by now,
// since the store's clock is a real one.
func (p *player) frozen(h *held) bool {
	if !p.real || h.record.State == claim.StateAbsent {
		return false
	}
	soon := func(t claim.Instant) bool { return t > p.now && t.Sub(p.now) < drawnOut*p.Unit/10 }
	return soon(h.record.Deadline) || soon(h.record.Expires)
}

// held returns the key with a name.
func (p *player) held(name byte) *held {
	h := p.keys[name]
	if h == nil {
		key, err := claim.NewKey(p.namespace, "consumer", claim.MessageID("message "+string(name)))
		if err != nil {
			panic(err) // the names are ours
		}
		h = &held{name: name, key: key, grants: map[claim.Token]claim.Grant{}}
		if p.Places {
			p.place(h)
		}
		p.keys[name] = h
		p.order = append(p.order, h)
	}
	return h
}

func (p *player) heldOf(key claim.Key) *held {
	i := slices.IndexFunc(p.order, func(h *held) bool { return h.key == key })
	return p.order[i]
}
