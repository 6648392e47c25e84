package watermillbus

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
)

// messageOf returns msg, from topic, as a bus.Message. Raw is msg.
func messageOf(topic string, msg *message.Message) *bus.Message {
	m := &bus.Message{ID: msg.UUID, Subject: topic, Data: msg.Payload, Raw: msg}
	if len(msg.Metadata) > 0 {
		m.Header = make(bus.Header, len(msg.Metadata))
		values := make([]string, 0, len(msg.Metadata)) // of all keys
		for k, v := range msg.Metadata {
			values = append(values, v)
			n := len(values)
			m.Header[k] = values[n-1 : n : n]
		}
	}
	return m
}
