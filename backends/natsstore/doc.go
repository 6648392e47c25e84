// Package natsstore keeps claims in a NATS JetStream key-value bucket, for those
// who run NATS and want no second system. It takes the program's own
// [jetstream.JetStream] and the name of a bucket of its own; [StreamConfig] has
// the settings that fit it best.
//
// The state machine is [claim.Step]: an operation reads the record, steps, and
// writes with the revision that it read. The server refuses the write when the
// key has moved on, and the operation begins again. A miss is never trusted: what
// finds nothing creates, and the server decides. A claim therefore takes one
// trip, which creates; a completion by the store that made the claim takes one as
// well, because it remembers the revision. Reads go to the stream's leader, not
// to a replica that may lag behind.
//
// # Time
//
// No client's clock decides about a lease. A record holds lengths of time, and
// they begin at the time that the server stamped on it. Whether one is over is
// judged by the server's time as well: the store asks for it, at most once a
// second, and in between adds what passed on the monotonic clock since the answer
// came. That is never ahead of the server, so nobody is taken for gone too soon,
// and behind it by no more than the answer took.
//
// The fence is the larger of the record's fence plus one and that time in
// microseconds; docs/decisions.md says why it is not the revision.
//
// # Errors
//
// A write that the server refused has not happened: claim.ErrUnavailable. So is
// one that was never sent; while the connection is down, operations wait for it
// within their context and send nothing. A message without an answer is sent again
// after half a second, and the writes of a batch where the connection was lost since:
// the client does not tell what it took with it, and the revision in a write lets one
// of its copies through at most. A write that found no
// answer within its context, or whose copies are refused by a record that does not
// show its effect, is claim.ErrUnknown. It may still arrive; the revision decides.
//
// docs/natskv.md says how to set up the bucket, what a restart and a leader that
// moves mean for claims, and what it costs.
package natsstore
