// Package natsbus is the bus adapter for NATS JetStream, on the client's
// jetstream package.
//
// [New] reads a consumer's real settings from the server, refuses those with
// which nothing can work and logs those that can lose or repeat messages; [Check]
// returns them as a list. There are three doors to a handler:
//
//   - [Consumer.Consume] pulls and runs handlers side by side, and returns when
//     its context ends and they have finished.
//   - [Consumer.ConsumeBatch] does the same for batches.
//   - [Consumer.Handler] makes a jetstream.MessageHandler of a bus.Handler, so
//     that code that calls Consume of the client itself changes in one line.
//
// # Pulling
//
// Consume asks the server for as many messages as it has free workers, and for
// no more. Clients usually keep a few hundred messages in a local queue, where
// the ack wait of each runs while nobody works on it: with slow handlers they are
// delivered again, to run twice and to use up MaxDeliver, before they were ever
// looked at. The jetstream package cannot be told how many workers are free, so
// the pull requests are made here, by its protocol. Requests for several workers
// go together, which makes it no slower than the client's queue.
//
// # Settlements
//
// An ack is sent until the server confirms it, as long as the ack wait of the
// delivery lasts; after that the message comes again anyway. The worker is free
// for the next message meanwhile. A rejection is confirmed in the same way. A
// retry is sent once: sent again, it could hit the next delivery, and if it is
// lost, the ack wait ends in the same. What could not be settled is counted,
// logged, and told to Options.OnError; it is never lost.
//
// # Facts about the server
//
// They were observed on nats-server 2.15, and each has a test here.
//
//   - BackOff overrides AckWait: the ack wait of delivery n is BackOff[n-1], and
//     the last entry serves all later ones. bus.Message.AckWait is that value.
//   - A retry with a delay is timed as if the ack wait were BackOff[0]; under
//     BackOff it comes BackOff[n-1] - BackOff[0] too late. This package sends the
//     delay less that difference, which the server takes even where it is
//     negative.
//   - The ack of a superseded delivery is accepted and removes the message, whoever
//     works on it. That is what bus.Abandon is for.
//   - With MaxDeliver set, the last delivery that is not settled is dropped
//     without a word, and every retry, a wait for another owner's lease too, uses
//     up one delivery.
package natsbus
