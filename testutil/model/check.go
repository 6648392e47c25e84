package model

import "github.com/oncebus/once/claim"

// Check visits every state of the space, breadth first, and reports what it found.
// It runs in the caller's goroutine, finds the same every time, and takes about
// 250 bytes for each state. It panics when a field of cfg is out of its range.
func Check(cfg Config) Report {
	c := newChecker(cfg)
	c.search()
	return c.report()
}

func newChecker(cfg Config) *checker {
	c := &checker{cfg: cfg.withDefaults(), step: claim.Step, seen: map[key]struct{}{}}
	if m := cfg.Mutant; m != nil {
		c.mistakes = m.mistakes
		if m.step != nil {
			c.step = m.step
		}
	}
	return c
}

// checker is one search.
type checker struct {
	cfg      Config
	step     stepFunc
	mistakes mistakes
	op       claim.Op // the last that was carried out

	nodes       []node
	seen        map[key]struct{}
	transitions int
	depth       int
	breaches    []found
	sights      [sights]sighting
}

// node is a state that was reached, and how. Its names are those of the way to
// it; seen has it without.
type node struct {
	state state
	from  uint32 // index of the node before; the first is its own
	by    event
}

// event is one transition.
type event struct {
	kind eventKind
	who  uint8 // a worker for its moves, a token for requests
	part part
}

type eventKind uint8

// outcome is what an event led to.
type outcome struct {
	next    state
	request request // that was carried out
	reply   reply
	worker  reaction // to the reply, or to having none
	broken  []breach
	seen    sightSet
}

// found is a breach and the event that made it, after a node.
type found struct {
	breach
	from uint32
	by   event
}

// sighting counts a sight and keeps the first.
type sighting struct {
	count int
	from  uint32
	by    event
}

func (c *checker) has(f Faults) bool { return c.cfg.Without&f == 0 }

func (c *checker) search() {
	first := state{}
	c.nodes = append(c.nodes, node{state: first})
	c.seen[first.key()] = struct{}{}
	var events []event
	level := 1 // where the next level begins
	for at := 0; at < len(c.nodes); at++ {
		if at == level {
			c.depth++
			level = len(c.nodes)
		}
		s := c.nodes[at].state
		events = c.events(&s, events[:0])
		for _, ev := range events {
			o := c.fire(s, ev)
			c.transitions++
			c.visit(uint32(at), ev, &o)
			if len(c.breaches) > 0 && !c.cfg.All {
				return
			}
		}
	}
}

// events appends all that may happen in s.
func (c *checker) events(s *state, events []event) []event {
	return c.networkEvents(s, c.workerEvents(s, events))
}

// fire returns what ev leads to from s.
func (c *checker) fire(s state, ev event) outcome {
	o := outcome{next: s}
	switch {
	case ev.kind < execute:
		c.move(&o, ev)
	case ev.kind <= answer:
		c.carry(&o, ev)
	default:
		c.befall(&o, ev.kind)
	}
	return o
}

// visit takes in the outcome of an event after a node.
func (c *checker) visit(from uint32, by event, o *outcome) {
	if o.next != c.nodes[from].state {
		if k := o.next.key(); c.add(k) {
			c.judgeState(o)
			c.nodes = append(c.nodes, node{state: o.next, from: from, by: by})
		}
	}
	for set := o.seen; set != 0; {
		s := &c.sights[set.next()]
		if s.count == 0 {
			s.from, s.by = from, by
		}
		s.count++
	}
	for _, b := range o.broken {
		c.note(found{b, from, by})
	}
}

// add reports whether k was not seen before.
func (c *checker) add(k key) bool {
	n := len(c.seen)
	c.seen[k] = struct{}{}
	return len(c.seen) > n
}

// note keeps the first breach of each invariant.
func (c *checker) note(f found) {
	for i := range c.breaches {
		if c.breaches[i].invariant == f.invariant {
			return
		}
	}
	c.breaches = append(c.breaches, f)
}
