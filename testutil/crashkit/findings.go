package crashkit

import (
	"fmt"
	"slices"
	"strings"
)

// finder looks for one kind of finding.
type finder func(e *evidence) []Finding

// finders, in the order in which people should read what they find.
var finders = []finder{
	findUnsettled, findHung, findBroken, findLost, findDoubled, // these may fail
	findHeedless, findForeign, findOrder, findReplaced, findLeaks, findMissed,
}

func (e *evidence) findings() []Finding {
	var all []Finding
	for _, find := range finders {
		all = append(all, find(e)...)
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return rank(a) - rank(b) })
	return all
}

func rank(f Finding) int {
	if f.Fails {
		return 0
	}
	return 1
}

// where returns the rows for which is holds.
func (e *evidence) where(is func(r *Row, res *result) bool) (at []int) {
	for i := range e.rows {
		if is(&e.rows[i], e.results[i]) {
			at = append(at, i)
		}
	}
	return at
}

// finding fills in the scenarios of f, if there are any.
func (e *evidence) finding(at []int, f Finding) []Finding {
	if len(at) == 0 {
		return nil
	}
	for _, i := range at {
		f.Scenarios = append(f.Scenarios, e.rows[i].Title())
	}
	return []Finding{f}
}

// forEach looks for a finding about each effect.
func (e *evidence) forEach(find func(k *Effect) []Finding) (all []Finding) {
	for i := range e.known {
		all = append(all, find(&e.known[i])...)
	}
	return all
}

// of reports whether names has the effect.
func (k *Effect) of(names []string) bool { return slices.Contains(names, k.Name) }

// any reports whether something holds for the effect in any scenario.
func (e *evidence) any(k *Effect, is func(t *tally) bool) bool {
	return len(e.where(func(_ *Row, res *result) bool { return res.is(k, is) })) > 0
}

// is reports whether something holds for the effect in this scenario.
func (r *result) is(k *Effect, is func(t *tally) bool) bool {
	t := r.tally(k.Name)
	return t != nil && is(t)
}

// share says how many of the scenarios.
func (e *evidence) share(at []int) string {
	return fmt.Sprintf("in %d of %d scenarios", len(at), len(e.rows))
}

// causes says for which reasons Once ran the handler again, and how often.
func (e *evidence) causes(at []int) string {
	var order []string
	count := map[string]int{}
	for _, i := range at {
		why := e.rows[i].Cause
		if why == "" {
			why = "no cause that is documented"
		}
		if count[why]++; count[why] == 1 {
			order = append(order, why)
		}
	}
	for i, why := range order {
		order[i] = fmt.Sprintf("%s (%d)", why, count[why])
	}
	return strings.Join(order, ", ")
}

func findUnsettled(e *evidence) []Finding {
	at := e.where(func(r *Row, _ *result) bool { return r.Settled == 0 && !r.Hung })
	last := ""
	if len(at) > 0 {
		last = e.rows[at[0]].Err
	}
	return e.finding(at, Finding{
		Kind: KindUnsettled, Fails: true,
		What: fmt.Sprintf("the message is never settled %s; at last the bus is told: %s", e.share(at), last),
		Do:   "a handler must get through once the fault is over: look at what it does with what an earlier run left behind",
	})
}

func findHung(e *evidence) []Finding {
	at := e.where(func(r *Row, _ *result) bool { return r.Hung })
	return e.finding(at, Finding{
		Kind: KindHung, Fails: true,
		What: "the handler does not return although its context has ended, " + e.share(at),
		Do:   "wait for <-ctx.Done() wherever the handler waits for something else",
	})
}

func findBroken(e *evidence) []Finding {
	var promises []string
	at := e.where(func(r *Row, _ *result) bool {
		if r.Broken != "" && !slices.Contains(promises, r.Broken) {
			promises = append(promises, r.Broken)
		}
		return r.Broken != ""
	})
	return e.finding(at, Finding{
		Kind: KindBroken, Fails: true,
		What: fmt.Sprintf("a promise is broken %s: %s", e.share(at), strings.Join(promises, "; ")),
		Do:   "this is not the handler's fault: take the store through testutil/claimtest; if it passes, please report it",
	})
}

// findLost tells apart why an effect did not happen. A message that was
// acknowledged without a successful run is findBroken's.
func findLost(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		lost := func(late bool) []int {
			return e.where(func(r *Row, res *result) bool {
				return k.of(r.Lost()) && r.Broken == "" && late == e.any(k, func(t *tally) bool { return t.late })
			})
		}
		late, swallowed := lost(true), lost(false)
		return slices.Concat(
			e.finding(late, Finding{
				Kind: KindLate, Effect: k.Name, Fails: true,
				What: fmt.Sprintf("%q is lost %s: the handler returns before it has happened", k.Name, e.share(late)),
				Do: "wait for it before returning: nil means that all is done, the message is acknowledged for it, " +
					"and the handler's context ends",
			}),
			e.finding(swallowed, Finding{
				Kind: KindLost, Effect: k.Name, Fails: true,
				What: fmt.Sprintf("%q is lost %s: the handler returns nil although it has not happened", k.Name, e.share(swallowed)),
				Do:   "return the error of the call: the message is then retried, and with dedupe.Permanent(err) it goes to the dead-letter sink",
			}),
		)
	})
}

func findDoubled(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		at := e.where(func(r *Row, _ *result) bool { return k.of(r.Doubled()) && r.Broken == "" })
		f := Finding{Kind: KindDoubled, Effect: k.Name, Fails: !k.Tolerated}
		twice := fmt.Sprintf("%q (%v) happens more than once %s", k.Name, k.Guard, e.share(at))
		switch {
		case k.Guard == Keyed && e.any(k, func(t *tally) bool { return t.noKey }):
			f.Kind = KindKey
			f.What = twice + ": its key is empty"
			f.Do = useChildKey(k)
		case k.Guard == Keyed:
			f.Kind = KindKey
			f.What = twice + ": its key is not stable, two runs of one message send two keys"
			f.Do = useChildKey(k)
		case k.Guard == Fenced && e.any(k, func(t *tally) bool { return t.noFence }):
			f.Kind = KindFence
			f.What = twice + ": its fence is 0"
			f.Do = "use dedupe.FenceFrom(ctx) on the handler's own context"
		case k.Guard == Fenced:
			f.Kind = KindFence
			f.What = twice + ": two runs send the same fence"
			f.Do = "use dedupe.FenceFrom(ctx), which rises with every run of the message"
		default:
			f.What = twice + ", after: " + e.causes(at)
			f.Do = fmt.Sprintf("%s (model it by HappenOnce); or, if it sets a value, write it on condition of dedupe.FenceFrom(ctx) (HappenFenced); "+
				"or commit it in one transaction with an inbox row for the message id (HappenOnce with the id); "+
				"or, if twice is bearable, Tolerate(%q)", useChildKey(k), k.Name)
		}
		return e.finding(at, f)
	})
}

func useChildKey(k *Effect) string {
	return fmt.Sprintf("send dedupe.ChildKey(ctx, %q) as the idempotency key", k.Name)
}

// findHeedless explains doubles of effects that a lost lease would have stopped.
func findHeedless(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		at := e.where(func(r *Row, res *result) bool {
			return k.of(r.Doubled()) && res.is(k, func(t *tally) bool { return t.heedless })
		})
		return e.finding(at, Finding{
			Kind: KindHeedless, Effect: k.Name,
			What: fmt.Sprintf("%q goes on after the handler's context has ended, and then another process has the message, %s", k.Name, e.share(at)),
			Do:   "hand the handler's context to the call, so that losing the lease stops it",
		})
	})
}

func findForeign(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		at := e.where(func(_ *Row, res *result) bool { return res.is(k, func(t *tally) bool { return t.foreign }) })
		return e.finding(at, Finding{
			Kind: KindForeign, Effect: k.Name,
			What: fmt.Sprintf("%q is called with a context that does not come from the handler's", k.Name),
			Do:   "derive it from the handler's context: it carries the fence and the child keys, and ends with the lease",
		})
	})
}

// findOrder looks for doubles of an unguarded effect that were caused by trouble
// in a later one.
func findOrder(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		if k.Guard != Unguarded {
			return nil
		}
		at := e.where(func(r *Row, res *result) bool {
			return k.of(r.Doubled()) && res.call.effect != "" && e.place(res.call.effect) > e.place(k.Name)
		})
		return e.finding(at, Finding{
			Kind: KindOrder, Effect: k.Name,
			What: fmt.Sprintf("%q is not the last effect: what goes wrong in a later one repeats it, %s", k.Name, e.share(at)),
			Do:   "guard it, or make it the last: then only what happens between it and the commit repeats it",
		})
	})
}

// place returns the last place of an effect among the calls of a run without
// faults.
func (e *evidence) place(effect string) int {
	last := -1
	for i, c := range e.calls {
		if c.effect == effect {
			last = i
		}
	}
	return last
}

func findReplaced(e *evidence) []Finding {
	return e.forEach(func(k *Effect) []Finding {
		at := e.where(func(_ *Row, res *result) bool { return res.is(k, func(t *tally) bool { return t.replaced > 0 }) })
		return e.finding(at, Finding{
			Kind: KindReplaced, Effect: k.Name,
			What: fmt.Sprintf("%q is set again by a second run with a larger fence %s", k.Name, e.share(at)),
			Do:   "right if it sets a value, wrong if it adds to one: a fence stops stale owners, not second runs. What adds needs a key",
		})
	})
}

func findLeaks(e *evidence) []Finding {
	at := e.where(func(_ *Row, res *result) bool { return res.leaked && !res.hung })
	return e.finding(at, Finding{
		Kind: KindLeak,
		What: "goroutines that the handler started are left over " + e.share(at),
		Do:   "end them with the handler, also when it ends by a panic: defer",
	})
}

func findMissed(e *evidence) []Finding {
	at := e.where(func(r *Row, _ *result) bool { return !r.Struck && !r.Hung })
	return e.finding(at, Finding{
		Kind: KindMissed,
		What: fmt.Sprintf("the fault met nothing %s: the handler never came to the place where it would strike", e.share(at)),
		Do:   "nothing, if that is how the handler is meant to be",
	})
}
