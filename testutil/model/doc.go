// Package model searches the claim protocol for a sequence of events that breaks
// it. It visits every state that a few workers, a bus, a network and a store can
// get into, breadth first, and checks invariants at each; what it finds comes
// with a shortest trace. It needs the standard library and package claim alone.
//
// The store in it is [claim.Step], the code that the stores in Go run: every
// transition hands it a record and an operation and looks at what it returns.
// The workers are package dedupe reduced to what the store and the bus can tell
// of it. The network never forgets: whatever was sent may be carried out at any
// later moment, any number of times or never, long after its sender has moved on
// or died, and any answer may be lost. Leases run out, records are lost or fall
// back to what a replica has, and workers crash, wherever and as often as it
// hurts. The one bound is the number of deliveries.
//
// [Check] searches a [Config]; the zero Config is the protocol with two workers
// and three deliveries. [Mutants] are the protocol with one mistake each, every
// one of which a search must find; they tell what a clean search is worth. So
// does Report.Sights, which lists the lines of the table of package claim and the
// situations that the search has been through.
//
// The search visits one state of all those that differ in names only: workers
// and tokens are all alike, and of fences and times only the order matters.
// docs/model.md says what is modelled, what is left out, and why that is sound.
//
// # Files
//
//	state.go       a state, and the key under which it is visited once
//	step.go        between the model's small numbers and claim.Step
//	worker.go      what a worker does
//	network.go     what the network, time and misfortune do
//	invariants.go  what must hold
//	sights.go      what must be seen
//	mutants.go     the mistakes
//	check.go       the search
//	report.go      what Check returns
//	trace.go       a way to a state in words
package model
