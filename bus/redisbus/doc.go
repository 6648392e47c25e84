// Package redisbus hands the entries of a Redis stream's consumer group to handlers
// of package bus and settles them. It stands on go-redis and needs Redis 7.0 or
// later, or Valkey.
//
//	c, err := redisbus.New(ctx, client, "orders", "billing", &redisbus.Options{CreateFrom: "0"})
//	...
//	defer c.Close(ctx)
//	err = c.Consume(ctx, deduper.Wrap(handler))
//
// There are three doors to a handler: [Consumer.Consume], [Consumer.ConsumeBatch],
// and [Handle] for those who have a loop of their own. [Publisher] adds messages in
// the encoding that a Consumer reads.
//
// # Taking
//
// A consumer takes as many entries as it has free workers, and no more: what would
// wait here is pending, and its idle time runs. Three things want a free worker, in
// this order: retries that are due, entries that nobody has kept for
// Options.MinIdle, and new entries.
//
// MinIdle is the ack wait that Redis does not have. Any consumer of the group may
// take over an entry that has been idle for so long: what a dead consumer left, what
// was abandoned, and what a handler works on for longer than that, unless it is
// kept alive.
//
// # Settlements
//
// An ack is sent until the server confirms it, together with all others that
// gathered meanwhile. The worker is free for the next message already.
//
// A message that is to be retried stays pending, and waits here by its id. When
// the delay is longer than MinIdle its idle time is set back in between, so that no
// other consumer delivers it early. If this process dies, others take it over after
// MinIdle; if it stops in order, when the delay is over.
//
// A rejected message goes to Options.Rejected first, and is acked when that has
// stored it. An abandoned one is left alone.
//
// # Keeping an entry
//
// Redis fences nothing: XACK acks the entry of whoever has it, and XCLAIM with an
// idle time of zero, which is how entries are kept, takes it back from its new
// owner. So keep-alives and retries are small scripts that first look whether the
// entry is still this consumer's and was not delivered again, and otherwise do
// nothing. Acks are not asked: what was processed is processed, whoever has the
// entry. Whoever lost the right to a message must settle it with bus.Abandon.
//
// # Positions
//
// Message.Position is the stream, the entry's id, and a digest of its fields. A
// stream has no name of its own that would tell it from one that had its key before.
// Ids that the server makes are times, and do not come again, but for the ids of
// entries that a failover or a restart lost while the next server's clock is behind;
// ids that publishers make come again when a stream is made anew. The digest keeps
// such messages apart, unless they are equal in every byte. Ids leave gaps, so Log
// and Sequence are not set.
//
// # When the group is lost
//
// After a restart without persistence, or a FLUSHALL, the stream is gone and the
// group with it. With Options.CreateFrom the consumer makes both anew and goes on
// from the stream's start; what publishers have added meanwhile is not missed. When
// the group alone is gone, it begins where the group had settled everything, as of
// some ten seconds before. Acks of messages from before are not sent: their ids may
// be others' by then. Without CreateFrom, Consume returns ErrNoGroup.
package redisbus
