// Package sequences drives a claim store through random sequences of operations
// and compares every answer and every record with those of claim.Step, the state
// machine as code:
//
//	func TestRandomSequences(t *testing.T) {
//		sequences.Run(t, func(t testing.TB) *claimtest.Harness {
//			clock := newFakeClock()
//			store := mystore.New(clock)
//			return &claimtest.Harness{Store: store, Advance: clock.Advance, Unit: time.Second}
//		})
//	}
//
// A sequence has a few keys and a few tokens for each, so that owners meet:
// claims with and without fingerprints, bounds of attempts and the Park policy;
// extensions, completions, releases with delays and without fences; operators;
// arguments that no store accepts; late copies of any earlier operation; several
// operations in one batch; and steps of the clock to a lease's end, a
// millisecond before it, and past the life of the record.
//
// A sequence that fails is made as short as it can be and printed as text, which
// [Replay] plays again; rapid keeps its seed under testdata/rapid as well. Flags
// of package rapid say how many sequences there are (-rapid.checks, 100) and how
// long (-rapid.steps, 30 on average).
//
// # Text
//
// A sequence is one step a line:
//
//	claim a 1 ttl=2u keep=3u print=A max=2 park   TryClaim of key a with token 1
//	extend a 1 ttl=2u
//	done a 1 keep=3u result="text" print=A        also: omitted
//	dead a 1 reason="text"
//	release a 1 delay=1u
//	forget a                                      also: seen=done, in place of the record's state
//	revive a
//	again 2              the operation before the last one, with the same arguments
//	advance 1u-1ms       the store's clock
//	| done a 1 keep=3u   in one batch with the line above
//
// Lengths of time are units of the harness, give or take a millisecond. keep is
// the retention and print the fingerprint. A token without the word fence shows
// the grant that it got last, or an invented one; fence=next, fence=prev,
// fence=zero and fence=current, which is that of the record, replace the fence.
// Blank lines and lines that begin with # are skipped.
//
// # The reference
//
// The reference holds the records that claim.Step returns and takes over one
// thing from the store: the fence of a new grant. It must be above that of the
// record, and above all earlier fences of the key unless the record was lost and
// the clock has stood still since. Every later answer must then show the same
// fence for the same grant.
//
// With Harness.Places the keys have places, and the reference forgets of a bare
// completion by whom it was, and lets neighbours end together.
//
// On a fake clock, one with a Unit of a second or more, the reference's time is
// the store's, to the microsecond, and so are all lengths of time. On a real one
// the reference's time moves with Advance alone. A length of one unit or less is
// over at the next advance, which is always of several units; longer ones are
// drawn out a thousandfold and never end. A key with a timer that may or may not
// have run out is left alone until then: the steps on it are passed over. What
// remains of a length must be what the reference says, less the time that really
// went by.
package sequences
