package bus

import (
	"context"
	"strings"
	"time"
)

// Message is one delivery of a message. A handler may read it until it returns
// and must not change it; Header and Data are the bus's own memory.
type Message struct {
	// ID is the publisher's message id, "" when it set none.
	ID string
	// Subject is the subject, topic, queue or route.
	Subject string
	// Header is the publisher's metadata; nil when there is none.
	Header Header
	// Data is the payload.
	Data []byte
	// Position is where the bus keeps the message: the same at every redelivery,
	// and never the same for two messages, also when a stream is deleted and
	// made again under its name. "" where the bus has no such thing.
	Position string
	// Log and Sequence are the same place in two parts, for stores that remember
	// a few bits for each number instead of a record for each message: the log's
	// name, with what tells its lives apart, and the message's number in it. Log
	// is "" where the bus has no numbers or might give one twice.
	Log      string
	Sequence uint64
	// Delivery is 1 at the first delivery and rises with each; 0 when unknown.
	Delivery int
	// Published is when the bus took the message, on the bus's clock. Zero when
	// unknown.
	Published time.Time
	// AckWait is how long the bus waits for this delivery to be settled before
	// it delivers again; 0 when unknown or unlimited.
	AckWait time.Duration
	// KeepAlive restarts the AckWait of this delivery. Nil where the bus cannot.
	// It is safe for concurrent use and does nothing after the settlement.
	KeepAlive func(context.Context) error
	// Raw is the native message of the adapter.
	Raw any
}

// Header is the metadata of a message. Keys are kept as the bus has them.
type Header map[string][]string

// Get returns the first value of key, or "". An exact match wins over one that
// differs in case, because buses disagree on whether case counts.
func (h Header) Get(key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, key) {
			return v[0]
		}
	}
	return ""
}

// Clone returns a deep copy, nil for nil.
func (h Header) Clone() Header {
	if h == nil {
		return nil
	}
	c := make(Header, len(h))
	for k, v := range h {
		c[k] = append([]string(nil), v...)
	}
	return c
}
