// Prove runs the fault matrix: real workers, a real Redis, a NATS key-value bucket
// or a PostgreSQL, and a real JetStream or Kafka, killed, stopped, cut off and filled up, thousands of messages for each fault,
// and a verdict about every message from a ledger outside of the consumers.
//
//	go run ./testutil/prove -short          # a few minutes
//	go run ./testutil/prove                 # writes docs/proof.md and proof.json
//	go run ./testutil/prove -fault F1,F6    # some of it
//
// It ends with status 1 when anything is not as it must be: a message is lost, a
// second execution or an overlap has no recorded reason, an expectation about a
// fault does not hold, or a negative control (a consumer that is known to be
// wrong) is not caught. Package nemesis has the machinery; the faults*.go files
// here have the matrix.
package main
