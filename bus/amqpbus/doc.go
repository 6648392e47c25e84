// Package amqpbus hands the messages of a RabbitMQ queue to handlers of package bus
// and settles them. It stands on amqp091-go.
//
//	client, err := amqpbus.Dial(ctx, nil, "amqp://guest:guest@localhost:5672/")
//	...
//	defer client.Close()
//	c, err := amqpbus.New(ctx, client, "orders", nil)
//	...
//	err = c.Consume(ctx, deduper.Wrap(handler))
//
// There are three doors to a handler: [Consumer.Consume], [Consumer.ConsumeBatch],
// and [Handle] for those who have a loop of their own. [Client.Publish] publishes
// with confirms.
//
// # What a settlement is worth
//
// RabbitMQ delivers a message on a channel, and takes its settlement on that channel
// alone. When the channel is lost, so is the right to the message: the server has put
// it back, and what a handler says of it afterwards is said to nobody. It is counted
// (Stats.Unsettled), and the message comes again. Delivery tags begin at 1 on every
// channel, so a tag of a channel that was lost would settle another message on the
// next one: a settlement here goes to the very channel object that brought the
// message, or nowhere.
//
// Acks are not confirmed by the server. Those that were written before a connection
// broke may not have arrived; their messages come again, which is what a deduplicator
// is for. A consumer that stops waits until the server has closed its channel in
// order, so that nothing that it acked comes again.
//
// # Retries
//
// RabbitMQ cannot put a message off. A message that is to be retried is held: it
// stays unsettled, waits here with its payload, and is handed over again when its
// delay is over. It takes one of the places that Options.Workers and MaxHeld bound,
// and when all are taken nothing else is delivered. With Options.RetryQueue messages
// wait at the server instead, in queues that give them back when their delay is over.
//
// A message that was abandoned is held too: as long as the channel lives nobody else
// will deliver it. There is no ack wait, and nothing to keep alive. Instead the server
// bounds how long a delivery may stay unsettled (consumer_timeout, 30 minutes by
// default) and closes the channel, with all that is on it, of a consumer that takes
// longer. See Options.HoldFor.
package amqpbus
