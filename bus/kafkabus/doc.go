// Package kafkabus hands the records of a Kafka consumer group to handlers of
// package bus and commits what is settled. It stands on franz-go.
//
//	c, err := kafkabus.New(&kafkabus.Options{},
//		kgo.SeedBrokers("localhost:9092"), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"))
//	...
//	defer c.Close()
//	err = c.Consume(ctx, deduper.Wrap(handler))
//
// # What Kafka has instead of acks
//
// A group remembers one offset for each partition, and whoever takes the
// partition over goes on there. Committing the offset of a record says that all
// records before it are done, so a commit out of order loses or repeats. This
// package commits the low-water mark: the first offset that is not settled.
// Records behind it may be settled too; they come again after a crash, which is
// what a deduplicator is for.
//
// Nothing can be handed back to Kafka either. A message that is to be retried is
// held: its partition, or its lane of it, waits and calls the handler again after
// the delay, while the other partitions go on. See Options.HoldFor for what ends
// that. A message that was abandoned is held in the same way: as long as the
// partition is ours, nobody else will deliver it.
//
// # Rebalances
//
// When a partition is taken away in order, its handlers may finish within
// Options.RevokeTimeout, and what is settled then is committed before the
// partition goes. Handlers that take longer lose their context with the cause
// ErrRevoked. When a partition is lost without a word, because the member was
// taken for dead, they lose it at once with ErrPartitionLost, and nothing is
// committed: somebody else has the partition. Cooperative and eager balancing,
// static membership and the protocol of KIP-848 work as franz-go has them.
package kafkabus
