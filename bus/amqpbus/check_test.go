package amqpbus

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

func settings(t *testing.T, o *Options) *Options {
	t.Helper()
	c, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestWhatAQueueCanLoseIsFound(t *testing.T) {
	v3, v4 := version{3, 13}, version{4, 1}
	quorum := func(args amqp.Table) *Queue { return &Queue{Args: args} }
	classic := amqp.Table{typeArg: "classic"}
	for name, c := range map[string]struct {
		queue   *Queue
		version version
		options Options
		want    map[string]bus.Severity
	}{
		"a quorum queue":              {quorum(nil), v3, Options{}, nil},
		"one of RabbitMQ 4":           {quorum(nil), v4, Options{}, map[string]bus.Severity{"x-delivery-limit": bus.Warn}},
		"one without a limit":         {quorum(amqp.Table{"x-delivery-limit": -1}), v4, Options{}, nil},
		"a limit":                     {quorum(amqp.Table{"x-delivery-limit": int32(5)}), v3, Options{}, map[string]bus.Severity{"x-delivery-limit": bus.Warn}},
		"a time to live":              {quorum(amqp.Table{"x-message-ttl": 1000}), v3, Options{}, map[string]bus.Severity{"x-message-ttl": bus.Warn}},
		"a length":                    {quorum(amqp.Table{"x-max-length": 10}), v3, Options{}, map[string]bus.Severity{"x-max-length": bus.Warn}},
		"a length in bytes":           {quorum(amqp.Table{"x-max-length-bytes": 10, "x-overflow": "drop-head"}), v3, Options{}, map[string]bus.Severity{"x-max-length-bytes": bus.Warn}},
		"a length that is refused":    {quorum(amqp.Table{"x-max-length": 10, "x-overflow": "reject-publish"}), v3, Options{}, nil},
		"an end":                      {quorum(amqp.Table{"x-expires": 1000}), v3, Options{}, map[string]bus.Severity{"x-expires": bus.Warn}},
		"a short timeout":             {quorum(amqp.Table{"x-consumer-timeout": 60_000}), v3, Options{}, map[string]bus.Severity{"x-consumer-timeout": bus.Warn}},
		"a timeout that is kept":      {quorum(amqp.Table{"x-consumer-timeout": 60_000}), v3, Options{HoldFor: time.Second}, nil},
		"a classic queue":             {&Queue{Args: classic}, v4, Options{}, map[string]bus.Severity{typeArg: bus.Note}},
		"one that is not durable":     {&Queue{Args: classic, Transient: true}, v3, Options{}, map[string]bus.Severity{typeArg: bus.Note, "Transient": bus.Warn}},
		"an exclusive one":            {&Queue{Args: classic, Exclusive: true}, v3, Options{}, map[string]bus.Severity{typeArg: bus.Note, "Exclusive": bus.Warn}},
		"one that is deleted":         {&Queue{Args: classic, AutoDelete: true}, v3, Options{}, map[string]bus.Severity{typeArg: bus.Note, "AutoDelete": bus.Warn}},
		"dead letters of the server":  {quorum(amqp.Table{"x-dead-letter-exchange": "dead"}), v3, Options{}, map[string]bus.Severity{"x-dead-letter-strategy": bus.Note}},
		"dead letters that are safe":  {quorum(amqp.Table{"x-dead-letter-exchange": "dead", "x-dead-letter-strategy": "at-least-once"}), v3, Options{}, nil},
		"dead letters of a sink":      {quorum(amqp.Table{"x-dead-letter-exchange": "dead"}), v3, Options{Rejected: Discard}, nil},
		"a limit, and a dead letter":  {quorum(amqp.Table{"x-dead-letter-exchange": "dead", "x-delivery-limit": 5}), v3, Options{Rejected: Discard}, map[string]bus.Severity{"x-delivery-limit": bus.Note}},
		"a length, and a dead letter": {quorum(amqp.Table{"x-dead-letter-exchange": "dead", "x-max-length": 5}), v3, Options{Rejected: Discard}, map[string]bus.Severity{"x-max-length": bus.Note}},
	} {
		got := queueFindings(c.queue, c.version, settings(t, &c.options))
		for _, f := range got {
			if f.Severity != c.want[f.Setting] {
				t.Errorf("%s: %v %v", name, f.Severity, f)
			}
			if f.Value == "" || f.Consequence == "" || f.Remedy == "" {
				t.Errorf("%s: %+v is not complete", name, f)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d findings, want %d: %v", name, len(got), len(c.want), got)
		}
	}
}

func TestWhatAServerLacksIsFound(t *testing.T) {
	server := func(version string, heartbeat time.Duration, capabilities ...string) *connection {
		table := amqp.Table{}
		for _, name := range capabilities {
			table[name] = true
		}
		return &connection{Connection: &amqp.Connection{
			Properties: amqp.Table{"version": version, "capabilities": table}, Config: amqp.Config{Heartbeat: heartbeat},
		}}
	}
	all := []string{"basic.nack", "publisher_confirms", "consumer_cancel_notify"}
	for name, c := range map[string]struct {
		conn    *connection
		options Options
		want    map[string]bus.Severity
	}{
		"RabbitMQ":          {server("4.1.0", time.Second, all...), Options{}, nil},
		"another server":    {server("", time.Second), Options{}, map[string]bus.Severity{"capability basic.nack": bus.Refuse, "capability publisher_confirms": bus.Refuse, "capability consumer_cancel_notify": bus.Refuse}},
		"no heartbeats":     {server("4.1.0", 0, all...), Options{}, map[string]bus.Severity{"heartbeat": bus.Warn}},
		"an old one":        {server("3.9.1", time.Second, all...), Options{}, nil},
		"retries on it":     {server("3.9.1", time.Second, all...), Options{RetryQueue: "retry"}, map[string]bus.Severity{"version": bus.Refuse}},
		"retries":           {server("3.10.8", time.Second, all...), Options{RetryQueue: "retry"}, nil},
		"held for too long": {server("4.1.0", time.Second, all...), Options{HoldFor: time.Hour}, map[string]bus.Severity{"consumer_timeout": bus.Warn}},
	} {
		if c.want == nil {
			c.want = map[string]bus.Severity{}
		}
		if _, ok := c.want["consumer_timeout"]; !ok {
			c.want["consumer_timeout"] = bus.Note
		}
		got := serverFindings(c.conn, versionOf(c.conn.Properties), settings(t, &c.options))
		for _, f := range got {
			if f.Severity != c.want[f.Setting] {
				t.Errorf("%s: %v %v", name, f.Severity, f)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d findings, want %d: %v", name, len(got), len(c.want), got)
		}
	}
}
