package amqpbus

import (
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The headers of a dead letter and of a message that comes from a retry queue, beside
// those of the original.
const (
	// HeaderDeadLetterID is bus.DeadLetter.ID: the same for every copy of one dead
	// letter.
	HeaderDeadLetterID = "once-dead-letter-id"
	// HeaderReason is why the message was given up.
	HeaderReason = "once-reason"
	// HeaderConsumer is the name of the consumer that gave up.
	HeaderConsumer = "once-consumer"
	// HeaderAttempt is how many times the handler was given the message.
	HeaderAttempt = "once-attempt"
	// HeaderDeliveries is how often a message was delivered before it went to a retry
	// queue.
	HeaderDeliveries = "once-deliveries"
	// HeaderOriginalExchange and HeaderOriginalKey are how the message was published.
	HeaderOriginalExchange = "once-original-exchange"
	HeaderOriginalKey      = "once-original-routing-key"
	// HeaderOriginalUser is the property user-id, which a server lets nobody else set.
	HeaderOriginalUser = "once-original-user-id"
	// HeaderOriginalCC is the header CC, which would send a copy to others again.
	HeaderOriginalCC = "once-original-cc"
)

// copyOf returns a message that can be published with what d has, persistent and
// without an expiry. A copy of a copy keeps where the first one came from.
func copyOf(d *amqp.Delivery) amqp.Publishing {
	h := make(amqp.Table, len(d.Headers)+4)
	for name, value := range d.Headers {
		switch name {
		case "x-delivery-count", "x-acquired-count": // the copy's begin anew
		case "CC", "BCC":
			h[HeaderOriginalCC] = value
		default:
			h[name] = value
		}
	}
	h[HeaderOriginalExchange], h[HeaderOriginalKey] = origin(d)
	if d.UserId != "" {
		h[HeaderOriginalUser] = d.UserId
	}
	return amqp.Publishing{
		Headers: h, Body: d.Body, DeliveryMode: amqp.Persistent,
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, Priority: d.Priority, CorrelationId: d.CorrelationId,
		ReplyTo: d.ReplyTo, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId,
	}
}

// clip returns at most limit bytes of s and cuts no character in half: all headers
// of a message have to fit into one frame.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
