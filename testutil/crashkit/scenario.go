package crashkit

import (
	"fmt"
	"slices"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// scenario is one way in which things go wrong.
type scenario struct {
	// point is the crash point of package claim, or "".
	point string
	name  string
	// cause is why Once may run the handler again although an effect has
	// happened; nil when it promises not to.
	cause *cause
	// call is the effect at which the fault strikes, zero if there is none.
	call call
	// quiet leaves out the repeated delivery at the end.
	quiet   bool
	arrange func(w *world)
}

// cause is one of the documented reasons for a second run.
type cause struct {
	why string
	// spares says that the first process's first run may have returned nil and
	// need not be the last: its completion was not recorded.
	spares bool
}

// The causes.
var (
	crashed    = &cause{"a crash between the effect and the commit", true}
	outlived   = &cause{"a lease outlived", true}
	overran    = &cause{"a run longer than MaxRun", true}
	forgotten  = &cause{"records lost by the store", true}
	failed     = &cause{"a failure of the handler after the effect", false}
	shutDown   = &cause{"a shutdown in the middle of the handler", false}
	failedOpen = &cause{"a run without a claim, by StoreDown: FailOpen", true}
)

// unless returns nil for the first call of a handler: no effect has happened
// when it is struck.
func (c *cause) unless(first bool) *cause {
	if first {
		return nil
	}
	return c
}

// unclaimed returns the cause that there is when a claim gets no answer.
func unclaimed(o *Options) *cause {
	if o.Dedupe.StoreDown == dedupe.FailOpen {
		return failedOpen
	}
	return nil
}

// noFault is the run that finds out which effects the handler has.
var noFault = scenario{name: "no fault", quiet: true, arrange: func(w *world) { w.ledger.naming = true }}

// scenarios returns all others, for a handler that makes these calls.
func scenarios(calls []recordedCall, o *Options) []scenario {
	first, last := calls[0].call, calls[len(calls)-1].call
	return slices.Concat(
		repeatScenarios(first),
		crashesBefore, forEach(calls, crashesAt), crashesAfter,
		standstillsBefore, forEach(calls, standstillsAt), standstillsAfter,
		forEach(calls, failuresAt), stoppedAfter(last),
		networkScenarios(first, o), storeScenarios(first, last, o),
	)
}

// forEach returns the scenarios of each call, with the call in their names.
func forEach(calls []recordedCall, at func(c recordedCall, first bool) []scenario) (all []scenario) {
	for i, c := range calls {
		for _, s := range at(c, i == 0) {
			s.name = fmt.Sprintf(s.name, c.call)
			s.call = c.call
			all = append(all, s)
		}
	}
	return all
}

// on returns the moment of a stage that needs no more.
func on(s stage) moment { return moment{stage: s} }

// onOp returns the moment at a stage of an operation.
func onOp(s stage, kind claim.OpKind) moment { return moment{stage: s, op: kind} }

// onCall returns the moment at a stage of a call.
func onCall(s stage, c recordedCall) moment { return moment{stage: s, call: c.call} }
