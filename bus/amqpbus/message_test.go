package amqpbus

import (
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

func TestTheNumberOfADelivery(t *testing.T) {
	for name, c := range map[string]struct {
		d    amqp.Delivery
		want int
	}{
		"first":                       {amqp.Delivery{}, 1},
		"again, from a classic queue": {amqp.Delivery{Redelivered: true}, 2},
		"counted":                     {amqp.Delivery{Redelivered: true, Headers: amqp.Table{"x-delivery-count": int64(3)}}, 4},
		"counted, and not failed":     {amqp.Delivery{Redelivered: true, Headers: amqp.Table{"x-delivery-count": int64(0), "x-acquired-count": int64(2)}}, 3},
		"from a retry queue":          {amqp.Delivery{Headers: amqp.Table{HeaderDeliveries: int64(5)}}, 6},
		"from there, and again":       {amqp.Delivery{Headers: amqp.Table{HeaderDeliveries: int32(5), "x-delivery-count": uint8(1)}}, 7},
		"nonsense":                    {amqp.Delivery{Headers: amqp.Table{HeaderDeliveries: int64(-5), "x-delivery-count": "many"}}, 1},
	} {
		if n := number(&c.d); n != c.want {
			t.Errorf("%s: %d, want %d", name, n, c.want)
		}
	}
}

func TestIDs(t *testing.T) {
	d := &amqp.Delivery{MessageId: "m", Headers: amqp.Table{"event-id": "h", "number": int64(7), "list": []any{"a", "b"}}}
	for name, want := range map[string]string{"event-id": "h", "number": "7", "list": "a", "none": ""} {
		if got := IDFromHeader(name)(d); got != want {
			t.Errorf("header %s: %q", name, got)
		}
	}
	for name, c := range map[string]struct {
		headers amqp.Table
		want    string
	}{
		"AMQP":      {amqp.Table{"cloudEvents:source": "/shop", "cloudEvents:id": "7"}, "5:/shop7"},
		"JMS":       {amqp.Table{"cloudEvents_source": "/shop", "cloudEvents_id": "7"}, "5:/shop7"},
		"another":   {amqp.Table{"cloudEvents:source": "/sho", "cloudEvents:id": "p7"}, "4:/shop7"},
		"no source": {amqp.Table{"cloudEvents:id": "7"}, ""},
		"no id":     {amqp.Table{"cloudEvents:source": "/shop"}, ""},
		"two kinds": {amqp.Table{"cloudEvents:source": "/shop", "cloudEvents_id": "7"}, ""},
		"none":      {nil, ""},
	} {
		if got := IDFromCloudEvent(&amqp.Delivery{Headers: c.headers}); got != c.want {
			t.Errorf("CloudEvent, %s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := header(&amqp.Delivery{
		ContentType: "text/plain", Type: "order",
		Headers: amqp.Table{
			"text": "a", "bytes": []byte("b"), "number": int32(-3), "bool": true, "time": at, "list": []any{"x", int64(1)},
			"table": amqp.Table{"k": "v"}, "nothing": nil, "type": "header",
		},
	})
	want := bus.Header{
		"text": {"a"}, "bytes": {"b"}, "number": {"-3"}, "bool": {"true"}, "time": {"2026-01-02T03:04:05Z"}, "list": {"x", "1"},
		"table": {`{"k":"v"}`}, "type": {"header"}, "content-type": {"text/plain"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if header(&amqp.Delivery{}) != nil {
		t.Error("a message without headers has some")
	}
}

func TestSteps(t *testing.T) {
	for delay, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 1999 * time.Millisecond: time.Second, 2 * time.Second: 2 * time.Second,
		time.Minute: 32 * time.Second, 365 * 24 * time.Hour: longestStep,
	} {
		if got := step(delay); got != want {
			t.Errorf("%v: %v, want %v", delay, got, want)
		}
	}
	c := &Consumer{opts: Options{RetryQueue: "orders.retry"}}
	if name := c.retryQueue(5 * time.Second); name != "orders.retry.4s" {
		t.Error(name)
	}
}

// A dead letter of a message that another bus brought.
func TestADeadLetterOfAnotherBus(t *testing.T) {
	m := deadLetter(bus.DeadLetter{
		Message: &bus.Message{ID: "7", Header: bus.Header{"kind": {"order", "big"}}, Data: []byte("body")},
		ID:      "dead.1", Consumer: "billing", Reason: strings.Repeat("é", longestReason), Attempt: 3,
	})
	if m.MessageId != "7" || string(m.Body) != "body" || !reflect.DeepEqual(m.Headers["kind"], []any{"order", "big"}) || m.Headers[HeaderAttempt] != int64(3) {
		t.Errorf("%+v", m)
	}
	if reason := m.Headers[HeaderReason].(string); len(reason) > longestReason || strings.Trim(reason, "é") != "" {
		t.Errorf("a reason of %d bytes", len(reason))
	}
	if err := m.Headers.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDeadLetterIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range []bus.Message{{ID: "7"}, {Data: []byte("7")}, {}} {
		for _, queue := range []string{"orders", "order"} {
			id := deadLetterID(queue, &m)
			if seen[id] {
				t.Errorf("%s comes twice", id)
			}
			seen[id] = true
			m.Delivery++
			if deadLetterID(queue, &m) != id {
				t.Error("the id depends on the delivery")
			}
		}
	}
}
