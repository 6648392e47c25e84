// Package claimtest is the suite of tests that every claim store passes. It
// needs the standard library and package claim alone, and stores outside of
// this module are welcome to it:
//
//	func TestContract(t *testing.T) {
//		claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
//			clock := newFakeClock()
//			store := mystore.New(clock)
//			return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second}
//		})
//	}
//
// The cases are the rules of package claim: one for each line of its table, by
// owner and by stranger, and repeated; and one for each promise that the table
// cannot hold. Each carries the rule that it checks, and prints it when it
// fails. If the store is a claim.Batcher, all cases run again with every
// operation in the middle of a batch. Cases for a claim.Inspector are skipped
// for a store that is none.
//
// [Failures] runs the suite on a store that is meant to fail it. [Benchmark]
// measures what a consumer does most.
package claimtest
