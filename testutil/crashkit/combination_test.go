package crashkit

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/faultstore"
)

var combinations = flag.Int("combinations", 100, "how many combinations of faults TestFaultsInCombination plays")

// TestFaultsInCombination strikes both processes with several faults at once: a
// guarded effect still happens once, and the message is acknowledged.
func TestFaultsInCombination(t *testing.T) {
	for seed := range uint64(*combinations) {
		rng := rand.New(rand.NewPCG(seed, 0))
		e := NewEffects()
		h := func(ctx context.Context, _ *bus.Message) error {
			if err := e.HappenOnce(ctx, "charge", dedupe.ChildKey(ctx, "charge")); err != nil {
				return err
			}
			return e.HappenFenced(ctx, "stock", dedupe.FenceFrom(ctx))
		}
		o, err := (&Options{
			AckWait: oneOf(rng, 5*time.Second, 30*time.Second, time.Minute),
			Dedupe: &dedupe.Options{
				Lease: oneOf(rng, 2*time.Second, 30*time.Second), MaxRun: 5 * time.Minute,
				MemorySize: oneOf(rng, 0, dedupe.Off), CommitUnknown: oneOf(rng, dedupe.NoAck, dedupe.AckAnyway),
			},
		}).withDefaults(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		c := &combination{rng: rng, lossless: seed%2 == 0}
		r, err := play(t, &scenario{name: fmt.Sprint("seed ", seed), arrange: c.arrange}, o, e)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := c.judge(r); wrong != "" {
			t.Errorf("seed %d: %s; the bus was told %v\nfaults: %s", seed, wrong, r.err, strings.Join(c.faults, "; "))
		}
	}
}

func oneOf[T any](rng *rand.Rand, values ...T) T { return values[rng.IntN(len(values))] }

// combination is a set of faults. Those of a lossless one leave every process its
// lease and its life, and so no reason to run the handler again after a success.
type combination struct {
	rng      *rand.Rand
	lossless bool
	faults   []string
}

func (c *combination) judge(r *result) string {
	var wrong []string
	if !r.acked() {
		wrong = append(wrong, fmt.Sprintf("settled as %v after %d deliveries, hung %v", r.settled, r.deliveries, r.hung))
	}
	for _, effect := range []string{"charge", "stock"} {
		if t := r.tally(effect); t == nil || t.happened != 1 || t.inTime != 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %+v", effect, t))
		}
	}
	broken := r.broken()
	if !c.lossless && strings.HasPrefix(broken, "a second run") {
		broken = ""
	}
	if broken != "" {
		wrong = append(wrong, broken)
	}
	return strings.Join(wrong, "; ")
}

// arrange strikes with one to five faults. The first process alone may die.
func (c *combination) arrange(w *world) {
	kinds := []claim.OpKind{claim.OpTryClaim, claim.OpExtend, claim.OpMarkDone, claim.OpRelease}
	var inHandler, anywhere []moment
	for _, s := range []stage{calling, inFlight, happened} {
		inHandler = append(inHandler, moment{stage: s, call: call{"charge", 1}}, moment{stage: s, call: call{"stock", 1}})
	}
	anywhere = append(anywhere, inHandler...)
	anywhere = append(anywhere, on(received), on(started), on(acking))
	for _, k := range kinds {
		anywhere = append(anywhere, onOp(sending, k), onOp(answered, k))
	}
	mortal := !c.lossless
	for range 1 + c.rng.IntN(5) {
		p, other := w.a, w.b
		if c.rng.IntN(2) == 0 {
			p, other = other, p
		}
		m, here := oneOf(c.rng, anywhere...), oneOf(c.rng, inHandler...)
		kind, pause := oneOf(c.rng, kinds...), time.Duration(c.rng.Int64N(int64(3*w.opts.Dedupe.Lease)))
		fault := c.rng.IntN(12)
		if c.lossless {
			fault = c.rng.IntN(6)
		}
		c.faults = append(c.faults, fmt.Sprintf("%d first=%v %+v %+v %v %v", fault, p.first, m, here, kind, pause))
		switch fault {
		case 0:
			p.at(here, func(context.Context, *claim.Op) error { return w.opts.Err })
		case 1:
			p.at(here, func(context.Context, *claim.Op) error { panic("crashkit: injected panic") })
		case 2:
			p.link.On(kind, oneOf(c.rng, faultstore.LoseReply, faultstore.LoseRequest, faultstore.Twice, faultstore.Fail), 1+c.rng.IntN(3))
		case 3:
			p.at(m, func(context.Context, *claim.Op) error { w.extra(other); return nil })
		case 4:
			p.at(m, func(context.Context, *claim.Op) error { w.extra(p); return nil })
		case 5:
			p.at(here, func(context.Context, *claim.Op) error { time.Sleep(pause); return nil })
		case 6:
			if mortal {
				mortal = false
				w.crashAt(m)
			}
		case 7:
			p.at(m, func(context.Context, *claim.Op) error {
				if p.standing() == nil && !p.isDead() {
					defer p.freeze()()
					time.Sleep(pause)
				}
				return nil
			})
		case 8:
			p.at(m, func(context.Context, *claim.Op) error { w.down(pause, p); return nil })
		case 9:
			p.at(m, func(context.Context, *claim.Op) error { w.down(pause, p, other); return nil })
		case 10:
			p.at(here, func(ctx context.Context, _ *claim.Op) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(100 * pause):
					return nil
				}
			})
		case 11:
			release := p.link.Hold(kind)
			w.healers = append(w.healers, release)
			time.AfterFunc(pause, release)
		}
	}
}
