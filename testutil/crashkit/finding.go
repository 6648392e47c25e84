package crashkit

// Kind is what a Finding is about.
type Kind string

// The kinds of findings.
const (
	// KindBroken is a promise of Once that did not hold: the store, or Once
	// itself, is at fault, not the handler.
	KindBroken Kind = "broken promise"
	// KindDoubled is an effect that nothing guards against a second run.
	KindDoubled Kind = "doubled"
	// KindKey is a keyed effect whose key is not the same at every run, or empty.
	KindKey Kind = "unstable key"
	// KindFence is a fenced effect whose fence does not rise with every run.
	KindFence Kind = "unusable fence"
	// KindLost is an effect that did not happen although the handler returned nil.
	KindLost Kind = "lost"
	// KindLate is an effect that the handler does not wait for.
	KindLate Kind = "not waited for"
	// KindUnsettled is a message that was never acknowledged nor rejected.
	KindUnsettled Kind = "never settled"
	// KindHung is a handler that does not return when its context ends.
	KindHung Kind = "hung"
	// KindHeedless is an effect that goes on after the lease was lost, because it
	// is not given the handler's context. It explains others.
	KindHeedless Kind = "context ignored"
	// KindForeign is an effect that is called with a context in which the handler
	// cannot be found. It explains others.
	KindForeign Kind = "foreign context"
	// KindOrder is an unguarded effect that another one follows. It explains
	// others.
	KindOrder Kind = "order"
	// KindReplaced is a fenced effect that a second run set again: right for a
	// value that is set, wrong for one that is added to.
	KindReplaced Kind = "set again"
	// KindLeak is a goroutine that was left over.
	KindLeak Kind = "goroutine left"
	// KindMissed are scenarios whose fault met nothing.
	KindMissed Kind = "not reached"
)

// Finding is something that the rows say, and what to do about it.
type Finding struct {
	Kind Kind
	// Effect is the effect in question, or "".
	Effect string
	// Fails is set when Run fails for it.
	Fails bool
	// What says in words what was found, and Do what to do.
	What, Do string
	// Scenarios are the titles of the rows in question.
	Scenarios []string
}
