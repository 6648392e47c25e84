// Package pebblestore is a claim store on the disk of one process, for very large
// retentions: a hundred million ids should take a few gigabytes of disk and little
// memory. It is built on Pebble, a log-structured merge tree.
//
// It is not shared. One process has the directory, and a second one is refused,
// on the same machine too; on another machine there is nothing to see. It is
// right where the bus gives a message to one process and keeps giving it there,
// such as one consumer of a Kafka partition with its disk. Where a message may be
// redelivered to another process, use a store that all of them share: two with a
// directory each would both run it.
//
// The state machine is [claim.Step] and nothing else. Operations on one key take
// turns; a batch is one write to the log, and concurrent ones share a sync of the
// disk. What is answered survives a crash of the process and of the machine, or
// less by choice: see [Sync].
//
// # Time
//
// The clock is the process's. While the store is open time passes as the
// monotonic clock says, whatever is done to the wall clock. A store that is opened
// goes by the wall clock, and by the time at which it was closed if the wall
// clock is behind it; so leases go on over a restart, and time never runs
// backwards.
//
// # Retention
//
// Records are kept in generations, by the time at which they end, and a
// generation is dropped as a whole when its time is over: a range of the tree,
// without a look at the records. [Options.Span] is the length of a generation.
package pebblestore
