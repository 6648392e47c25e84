// Package watermillbus hands Watermill's messages to handlers of package bus: as a
// middleware of a message.Router, or as a consumer of any message.Subscriber.
//
//	router.AddMiddleware(watermillbus.Middleware(deduper.Wrap, nil))
//
// # What Watermill has
//
// A message is acked or nacked, and nothing else; a nack brings it again at once,
// or when the pub/sub sees fit. So settlements become
//
//	settlement   what Watermill is told
//	-----------  ----------------------------------------------------------------
//	Ack          ack
//	Retry        nack, held back for the delay, at most Options.MaxHold
//	Reject       ack, after Options.Rejected has taken the message; see there
//	Abandon      nack, like a retry without a delay
//
// A message cannot be left alone: one that is neither acked nor nacked comes never
// again on some pub/subs, and on most of them stops those behind it. A nack may
// bring an abandoned message while another owner works on it. That costs a
// delivery, which a deduplicator answers without running the handler, and no
// effect.
//
// Watermill has neither positions nor delivery counts nor keep-alives, and does not
// say how long the broker waits for an ack. If it waits for less than the handler
// and MaxHold take together, messages come again earlier.
//
// # Messages that a handler produces
//
// A router publishes what a handler returned after all middlewares have returned.
// By then a deduplicator has recorded the message as done. If publishing failed,
// or the process died before it, the redelivery would be a duplicate, and what was
// produced would be lost. Options.Publisher publishes it before the message counts
// as done, and only for a handler that ran. Without it Middleware refuses the
// messages of handlers that publish, with [ErrNoPublisher], before it runs them.
//
// When publishing fails, or a process dies before the record, the handler runs again,
// with its other effects, and what it produces is published again. Give that an id
// which is derived from the message's, with dedupe.ChildKey, so that the next consumer
// recognises it; docs/guarantees.md says what there is for the other effects.
package watermillbus
