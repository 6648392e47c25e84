package crashkit

import "github.com/oncebus/once/bus"

// Report is what came of all scenarios.
type Report struct {
	// Effects are those of the handler, in the order in which a run without
	// faults calls them; effects that only some scenario knows come last.
	Effects []Effect
	// Rows are the scenarios; the first is the run without faults.
	Rows []Row
	// Findings are what the rows say about each effect, what fails first.
	Findings []Finding
}

// Effect is one effect of the handler.
type Effect struct {
	Name  string
	Guard Guard
	// Wanted is how often it happens in a run without faults; 0 for one that is
	// not called then.
	Wanted int
	// Tolerated is set when it may happen twice.
	Tolerated bool
}

// Row is what came of one scenario.
type Row struct {
	// Point is the crash point of package claim at which the fault strikes, p0 to
	// p8, or "".
	Point string
	// Scenario says in words what happens.
	Scenario string
	// Struck is set when the fault met what it was meant for. A handler that
	// swallows errors, for instance, never has a release that could be lost.
	Struck bool
	// Runs is how many times the handler was called, Deliveries how many times
	// the bus handed the message over, without the repetitions at the end.
	Runs, Deliveries int
	// Settled is bus.ActionAck or bus.ActionReject, or 0 when the message was
	// neither acknowledged nor rejected in the end.
	Settled bus.Action
	// Counts are those of Report.Effects, in their order.
	Counts []Count
	// Cause is why Once may run the handler again in this scenario although an
	// effect has happened; "" when it promises not to.
	Cause string
	// Broken says which promise did not hold that does not depend on the handler;
	// "" when all did. See KindBroken.
	Broken string
	// Hung is set when a handler did not return although its context had ended.
	// Nothing else is known then.
	Hung bool
	// Err is what the bus was told last that was not an acknowledgement, or "".
	Err string
}

// Count is how often an effect happened in a scenario.
type Count struct {
	Effect string
	// Wanted and Happened are how often it was to happen and did. InTime leaves
	// out what happened only because the message was repeated at the end.
	Wanted, Happened, InTime int
	// Absorbed counts repeated keys, Refused smaller fences, Replaced values that
	// were set again under a larger fence.
	Absorbed, Refused, Replaced int
}

// Doubled reports whether the effect happened more often than it was to. One that
// a run without faults does not have, such as a refund, may happen once.
func (c *Count) Doubled() bool { return c.Happened > max(1, c.Wanted) }

// missing reports whether it happened less often than it was to.
func (c *Count) missing() bool { return c.InTime < c.Wanted }

// Doubled returns the effects that happened too often.
func (r *Row) Doubled() []string { return r.namesOf((*Count).Doubled) }

// Lost returns the effects that did not happen, or not often enough, although
// the message was acknowledged.
func (r *Row) Lost() []string {
	if r.Settled != bus.ActionAck {
		return nil
	}
	return r.namesOf((*Count).missing)
}

func (r *Row) namesOf(is func(*Count) bool) (names []string) {
	for i := range r.Counts {
		if is(&r.Counts[i]) {
			names = append(names, r.Counts[i].Effect)
		}
	}
	return names
}

// Title returns the crash point and the scenario.
func (r *Row) Title() string {
	if r.Point == "" {
		return r.Scenario
	}
	return r.Point + " " + r.Scenario
}

// Doubled returns the titles of the scenarios in which an effect happened too
// often: for tests that pin down which ones they accept.
func (r *Report) Doubled(effect string) []string { return r.titles(effect, (*Row).Doubled) }

// Lost returns the titles of the scenarios in which an effect was lost.
func (r *Report) Lost(effect string) []string { return r.titles(effect, (*Row).Lost) }

// OK reports whether no finding fails.
func (r *Report) OK() bool {
	for _, f := range r.Findings {
		if f.Fails {
			return false
		}
	}
	return true
}
