// Package once is the root of Once: message handlers that take effect once,
// although every bus delivers at least once. The root itself has no code. Start
// with [github.com/oncebus/once/dedupe].
//
//	claim     the contract of a claim store: state machine, errors
//	bus       the contract of a delivery: message, handler, settlement
//	dedupe    the consumer wrapper that joins the two
//	backends  claim stores
//	bus/…bus  bus adapters
//	testutil  the suites that every store and adapter passes, faults and servers for tests
//	examples  programs to run
package once
