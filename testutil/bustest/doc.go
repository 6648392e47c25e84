// Package bustest holds the rules of a bus adapter (package bus) as a suite of
// tests, for the adapters of this module and for anybody else's.
//
// An adapter hooks up in one function:
//
//	func TestSuite(t *testing.T) {
//		bustest.Run(t, func(t testing.TB) *bustest.Harness {
//			b, err := membus.New(&membus.Options{AckWait: 300 * time.Millisecond})
//			...
//			return &bustest.Harness{Publish: ..., Consume: ..., Features: bustest.All()}
//		})
//	}
//
// Every case gets a Harness of its own, on a topic of its own, and all cases run
// in parallel. None of them sleeps: a case that must show that something does
// *not* happen again publishes a marker afterwards and leaves it unsettled; when
// the bus delivers the marker again, its own clock has said that an ack wait
// passed.
//
// [Check] runs the suite without failing a test and returns what failed, so that
// an adapter made wrong on purpose can be shown to fail. The suite's own tests do
// so for the mistakes that matter: acking whatever happens, acking before the
// handler, answering an abandoned message, ignoring a delay.
package bustest
