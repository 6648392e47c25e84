package amqpbus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

// IDFromHeader returns an Options.ID that reads the header of that name.
func IDFromHeader(name string) func(*amqp.Delivery) string {
	return func(d *amqp.Delivery) string {
		if values := texts(d.Headers[name]); len(values) > 0 {
			return values[0]
		}
		return ""
	}
}

// IDFromCloudEvent is an Options.ID for CloudEvents in binary mode, whose attributes
// are the headers cloudEvents:source and cloudEvents:id, or cloudEvents_source and
// cloudEvents_id. The two name an event together, so they are the id together. It
// returns "" when one is missing. dedupe.ByCloudEvent knows structured mode too.
func IDFromCloudEvent(d *amqp.Delivery) string {
	for _, prefix := range []string{"cloudEvents:", "cloudEvents_"} {
		source, id := IDFromHeader(prefix+"source")(d), IDFromHeader(prefix+"id")(d)
		if source != "" && id != "" {
			return strconv.Itoa(len(source)) + ":" + source + id
		}
	}
	return ""
}

// message makes a bus.Message of a delivery.
func message(d *amqp.Delivery, id func(*amqp.Delivery) string) bus.Message {
	_, key := origin(d)
	return bus.Message{
		ID: id(d), Subject: key, Header: header(d), Data: d.Body, Delivery: number(d), Published: d.Timestamp, Raw: d,
	}
}

// origin returns the exchange and the routing key with which a message was published,
// before it waited in a retry queue.
func origin(d *amqp.Delivery) (exchange, key string) {
	if key, ok := d.Headers[HeaderOriginalKey].(string); ok {
		exchange, _ := d.Headers[HeaderOriginalExchange].(string)
		return exchange, key
	}
	return d.Exchange, d.RoutingKey
}

// number returns which delivery this is. A quorum queue counts; a classic one tells
// the first from the others, which all are the second here.
func number(d *amqp.Delivery) int {
	n, counted := 0, false
	for _, name := range []string{"x-delivery-count", "x-acquired-count"} {
		if times, ok := integer(d.Headers[name]); ok {
			n, counted = max(n, times), true
		}
	}
	if d.Redelivered && !counted {
		n = 1
	}
	before, _ := integer(d.Headers[HeaderDeliveries])
	return max(0, before) + n + 1
}

// header returns the headers and those properties that other buses have as headers.
// Headers win.
func header(d *amqp.Delivery) bus.Header {
	var h bus.Header
	set := func(name string, values []string) {
		if _, has := h[name]; has || len(values) == 0 {
			return
		}
		if h == nil {
			h = make(bus.Header, len(d.Headers)+1)
		}
		h[name] = values
	}
	for name, value := range d.Headers {
		set(name, texts(value))
	}
	for _, p := range [...]struct{ name, value string }{
		{"content-type", d.ContentType}, {"content-encoding", d.ContentEncoding}, {"correlation-id", d.CorrelationId},
		{"reply-to", d.ReplyTo}, {"type", d.Type}, {"app-id", d.AppId},
	} {
		if p.value != "" {
			set(p.name, []string{p.value})
		}
	}
	return h
}

// texts returns the value of a header as text: the values of an array one by one, a
// table as JSON.
func texts(value any) []string {
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []byte:
		return []string{string(v)}
	case time.Time:
		return []string{v.UTC().Format(time.RFC3339)}
	case []any:
		var all []string
		for _, one := range v {
			all = append(all, texts(one)...)
		}
		return all
	case amqp.Table:
		text, err := json.Marshal(v)
		if err != nil {
			return nil // a number that JSON has not
		}
		return []string{string(text)}
	}
	return []string{fmt.Sprint(value)}
}

// integer returns a number of any of the protocol's types.
func integer(value any) (int, bool) {
	switch v := value.(type) {
	case int64:
		return int(v), true
	case int32:
		return int(v), true
	case int16:
		return int(v), true
	case int8:
		return int(v), true
	case uint32:
		return int(v), true
	case uint16:
		return int(v), true
	case uint8:
		return int(v), true
	case int:
		return v, true
	}
	return 0, false
}

// Handle calls h for one delivery and returns how to settle it, for those who have a
// loop of their own around amqp.Channel.Consume:
//
//	switch s := amqpbus.Handle(ctx, &d, handler); s.Action {
//	case bus.ActionAck:
//		d.Ack(false)
//	case bus.ActionReject:
//		d.Reject(false)
//	default:
//		// call Handle again after s.Delay, or d.Nack(false, true)
//	}
//
// The id is the property message-id. A panic of h is a retry.
func Handle(ctx context.Context, d *amqp.Delivery, h bus.Handler) (s bus.Settlement) {
	m := message(d, func(d *amqp.Delivery) string { return d.MessageId })
	bus.Serve(ctx, h, &m, func(settled bus.Settlement) { s = settled })
	return s
}
