package crashkit

import "strconv"

// Guard says how the downstream of an effect tells a repetition from something
// new.
type Guard uint8

// The guards.
const (
	// Unguarded is an effect of Happen.
	Unguarded Guard = iota + 1
	// Keyed is an effect of HappenOnce.
	Keyed
	// Fenced is an effect of HappenFenced.
	Fenced
	// Mixed is an effect for which several of them were called.
	Mixed
)

var guardNames = [...]string{Unguarded: "unguarded", Keyed: "keyed", Fenced: "fenced", Mixed: "mixed"}

// String returns the guard in lower case.
func (g Guard) String() string {
	if int(g) < len(guardNames) && g != 0 {
		return guardNames[g]
	}
	return "guard(" + strconv.Itoa(int(g)) + ")"
}

// ask is what a downstream service is asked for.
type ask struct {
	effect string
	guard  Guard
	key    string
	fence  uint64
}

// tally is what is known of one effect in one scenario. The ledger's lock guards
// it.
type tally struct {
	effect string
	guard  Guard

	calls    int
	asked    map[string]bool // keys that it was called with
	happened int
	inTime   int // happened before the message was repeated and ran again
	absorbed int // repeated keys
	refused  int // fences that were too small
	replaced int // fences that were larger than that of the value

	known  map[string]bool // keys that the downstream remembers
	fence  uint64          // of the value
	writer *run            // of the value; nil when there is none

	foreign   bool // called with a context that is not the handler's
	heedless  bool // called with a context that outlived the handler's
	late      bool // called or ended after the handler had returned
	noKey     bool // called with an empty key
	noFence   bool // called with fence 0
	sameFence bool // called with one fence by two runs
}

// note notes a call before it is carried out.
func (t *tally) note(a ask) {
	t.calls++
	if t.guard != a.guard {
		t.guard = Mixed
	}
	t.noKey = t.noKey || a.guard == Keyed && a.key == ""
	t.noFence = t.noFence || a.guard == Fenced && a.fence == 0
	if a.key != "" {
		t.asked[a.key] = true
	}
}

// wanted returns how often the effect is meant to happen, by the calls of a run
// without faults.
func (t *tally) wanted() int {
	switch {
	case t.guard == Keyed && !t.noKey:
		return len(t.asked)
	case t.guard == Fenced:
		return 1
	}
	return t.calls
}

// write does what the downstream service does.
func (t *tally) write(a ask, r *run) error {
	switch {
	case a.guard == Keyed && a.key != "":
		if t.known[a.key] {
			t.absorbed++
			return nil
		}
		t.known[a.key] = true
	case a.guard == Fenced:
		return t.set(a.fence, r)
	}
	t.happened++
	return nil
}

// set writes a value on condition of its fence. What a larger fence finds, it
// replaces. An equal fence of another run is let through as well, and nobody can
// tell then who was last.
func (t *tally) set(fence uint64, r *run) error {
	switch {
	case t.writer == nil:
		t.happened++
	case fence < t.fence:
		t.refused++
		return ErrFenced
	case fence > t.fence:
		t.replaced++
	case r != t.writer:
		t.sameFence = true
		t.happened++
	}
	t.fence, t.writer = fence, r
	return nil
}
