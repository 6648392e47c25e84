package histories

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/oncebus/once/claim"
)

// maxStates is how many states of a record the model follows at the same time
// before it gives up.
const maxStates = 1 << 11

// model is the state machine of one key, with the operations on it whose
// outcomes are not known.
type model struct {
	unknown []unknown
	// repeats lets unknown operations take effect any number of times, not once.
	// That is less than is known, and takes much less to follow: which of them
	// have taken effect is then no part of a state.
	repeats bool
	limits  limits
	// most is how many attempts a record can have at all: one for every claim that
	// was sent, copies included, on top of those of the highest grant.
	most int
	seed maphash.Seed
	// depth is how many unknown operations may take effect between two that were
	// answered. A history that is explained with few is explained.
	depth int
	// curtailed is set when more than depth might have made a difference.
	curtailed bool
	// deadline is when to give up, and gaveUp is set when that was needed, or when
	// a set of states outgrew maxStates. From then on nothing is possible, so that
	// the checker soon ends: porcupine's own timeout would leave it at work.
	deadline time.Time
	gaveUp   bool
}

// unknown is one copy of an operation that may take effect once, at any time
// after its call. It has the number of the copy before it, which goes first:
// copies are alike, so their order does not matter.
type unknown struct {
	op     *claim.Op
	call   time.Duration
	early  bool // EarlyClock
	before int  // -1: none
}

func newModel(ops []Operation, repeats bool, depth int) *model {
	m := &model{limits: limitsOf(ops), repeats: repeats, depth: depth, seed: maphash.MakeSeed(),
		deadline: time.Now().Add(patience)}
	highest := 0
	for i := range ops {
		o := &ops[i]
		highest = max(highest, o.Op.Grant.Attempt)
		if o.Op.Kind == claim.OpTryClaim && !o.NotDone() {
			m.most += 1 + o.Copies
		}
	}
	m.most += highest
	return m
}

// add takes n copies of an operation along.
func (m *model) add(o *Operation, n int) {
	before := -1
	for range n {
		m.unknown = append(m.unknown, unknown{&o.Op, o.Call, o.EarlyClock, before})
		before = len(m.unknown) - 1
	}
}

// porcupine returns the model in the checker's terms. A state of the checker is
// a set of states here, as a slice in which none dominates another.
func (m *model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return []state{{}} },
		Step: func(set, input, _ any) (bool, any) {
			next := m.step(set.([]state), input.(*Operation))
			return len(next) > 0, next
		},
		Equal:             func(a, b any) bool { return sameSet(a.([]state), b.([]state)) },
		Hash:              func(set any) uint64 { return m.hash(set.([]state)) },
		DescribeOperation: func(input, _ any) string { return describe(&input.(*Operation).Op) },
		DescribeState:     func(set any) string { return describeStates(set.([]state)) },
	}
}

// step returns the states after o, which was answered.
func (m *model) step(set []state, o *Operation) []state {
	all := m.landed(set, o)
	if m.gaveUp {
		return nil
	}
	next := newCollection()
	for _, s := range all.list() {
		w := newWindow(s.now, o.Call, o.Return, o.EarlyClock)
		if w.empty() {
			continue
		}
		for _, t := range s.apply(&o.Op, true, w) {
			next.add(t)
		}
	}
	return next.list()
}

// landed returns the states of set and all that they may become by unknown
// operations that take effect before o, in any order.
func (m *model) landed(set []state, o *Operation) collection {
	limit := min(m.limits.at(o), m.most)
	all := newCollection()
	for _, s := range set {
		all.add(s)
	}
	for depth, last := 0, set; len(last) > 0; depth++ {
		if depth == m.depth {
			m.curtailed = true
			break
		}
		var next []state
		for i := range last {
			m.gaveUp = m.gaveUp || all.size > maxStates || time.Now().After(m.deadline)
			if m.gaveUp {
				return all
			}
			for _, t := range m.land(&last[i], o, limit) {
				if all.add(t) {
					next = append(next, t)
				}
			}
		}
		last = next
	}
	return all
}

// land returns what s may become by one unknown operation.
func (m *model) land(s *state, o *Operation, limit int) (all []state) {
	for i, u := range m.unknown {
		w := newWindow(s.now, u.call, o.Return, u.early)
		if w.empty() || !m.mayLand(s, i) {
			continue
		}
		for _, t := range s.apply(u.op, false, w) {
			if t.record.attempt > limit {
				continue
			}
			if !m.repeats {
				t.spent = s.spent.with(i)
			}
			all = append(all, t)
		}
	}
	return all
}

// mayLand reports whether copy i may still take effect.
func (m *model) mayLand(s *state, i int) bool {
	before := m.unknown[i].before
	if m.repeats {
		return before < 0
	}
	return !s.spent.has(i) && (before < 0 || s.spent.has(before))
}

// collection is a set of states of which none dominates another. Only states
// with one record can.
type collection struct {
	states map[record][]state
	size   int
}

func newCollection() collection { return collection{states: map[record][]state{}} }

// add adds s, unless a state dominates it, and removes those that it dominates.
// It reports whether it was added.
func (c *collection) add(s state) bool {
	same := c.states[s.record]
	for i := range same {
		if same[i].dominates(&s) {
			return false
		}
	}
	before := len(same)
	same = append(slices.DeleteFunc(same, func(t state) bool { return s.dominates(&t) }), s)
	c.states[s.record] = same
	c.size += len(same) - before
	return true
}

// list returns the states, in no order.
func (c *collection) list() []state {
	list := make([]state, 0, c.size)
	for _, same := range c.states {
		list = append(list, same...)
	}
	return list
}

func sameSet(a, b []state) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !slices.Contains(b, a[i]) {
			return false
		}
	}
	return true
}

// hash does not depend on the order of the set.
func (m *model) hash(set []state) (h uint64) {
	for i := range set {
		h ^= maphash.Comparable(m.seed, set[i])
	}
	return h
}
