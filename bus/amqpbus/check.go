package amqpbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
)

// usualTimeout is what consumer_timeout was by default in the versions in which it
// was shortest.
const usualTimeout = 15 * time.Minute

// Check looks at the server, at the queue and at o and returns what can lose or repeat
// messages, worst first. A queue that Options.Declare describes is made if there is
// none, and its arguments are looked at; of another one AMQP tells only that it exists,
// and of policies nothing at all, which is a finding too. A nil o stands for the
// defaults.
func Check(ctx context.Context, client *Client, queue string, o *Options) ([]bus.Finding, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return check(ctx, client, queue, &opts)
}

func check(ctx context.Context, client *Client, queue string, o *Options) ([]bus.Finding, error) {
	conn, err := client.consuming.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := findQueue(ctx, client, queue, o); err != nil {
		return nil, err
	}
	version := versionOf(conn.Properties)
	all := serverFindings(conn, version, o)
	if o.Declare == nil {
		all = append(all, bus.Finding{
			Severity: bus.Note, Setting: "arguments and policies of the queue", Value: "unknown",
			Consequence: "message-ttl, max-length, expires, delivery-limit and auto-delete drop messages, and AMQP does not tell them",
			Remedy:      "describe the queue in Options.Declare, and look at rabbitmqctl list_queues name type durable auto_delete arguments effective_policy_definition",
		})
	} else {
		all = append(all, queueFindings(o.Declare, version, o)...)
		all = append(all, bus.Finding{
			Severity: bus.Note, Setting: "policies of the queue", Value: "unknown",
			Consequence: "a policy with message-ttl, max-length, expires or delivery-limit drops messages, and AMQP does not tell it",
			Remedy:      "look at rabbitmqctl list_queues name effective_policy_definition",
		})
	}
	slices.SortStableFunc(all, func(a, b bus.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return all, nil
}

// findQueue makes sure that the queue exists and is as Options.Declare has it.
func findQueue(ctx context.Context, client *Client, queue string, o *Options) error {
	if o.Declare != nil && o.Declare.kind() == typeStream {
		return errStream
	}
	err := client.consuming.once(ctx, func(ch *amqp.Channel) error {
		if o.Declare != nil {
			return o.Declare.declare(ch, queue)
		}
		_, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		return err
	})
	var refused *amqp.Error
	switch {
	case err == nil:
		return nil
	case queueGone(err):
		return fmt.Errorf("%w: %w", ErrNoQueue, err)
	case errors.As(err, &refused) && refused.Code == amqp.ResourceLocked:
		return fmt.Errorf("%w: the queue is exclusive to another connection: %w", ErrRefused, err)
	}
	return fmt.Errorf("amqpbus: look for the queue: %w", err)
}

// version is the server's, zero where it is not known.
type version struct{ major, minor int }

func versionOf(properties amqp.Table) (v version) {
	text, _ := properties["version"].(string)
	major, rest, _ := strings.Cut(text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	var err error
	if v.major, err = strconv.Atoi(major); err != nil {
		return version{}
	}
	v.minor, _ = strconv.Atoi(minor)
	return v
}

// before reports whether v is known and less than major.minor.
func (v version) before(major, minor int) bool {
	return v.major != 0 && (v.major < major || v.major == major && v.minor < minor)
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// serverFindings looks at the server and at what is to be asked of it.
func serverFindings(conn *connection, v version, o *Options) (f []bus.Finding) {
	capabilities, _ := conn.Properties["capabilities"].(amqp.Table)
	for _, name := range []string{"basic.nack", "publisher_confirms", "consumer_cancel_notify"} {
		if can, _ := capabilities[name].(bool); !can {
			f = append(f, bus.Finding{
				Severity: bus.Refuse, Setting: "capability " + name, Value: "missing",
				Consequence: "messages cannot be given back, confirmed, or missed in time", Remedy: "use RabbitMQ",
			})
		}
	}
	if o.RetryQueue != "" && v.before(3, 10) {
		f = append(f, bus.Finding{
			Severity: bus.Refuse, Setting: "version", Value: v.String(),
			Consequence: "messages that leave a retry queue can be lost", Remedy: "use RabbitMQ 3.10 or later, or no Options.RetryQueue",
		})
	}
	if conn.Config.Heartbeat <= 0 {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "heartbeat", Value: "0",
			Consequence: "a connection that is dead is noticed late or never, and its messages are kept from others", Remedy: "set 10 seconds or so",
		})
	}
	severity := bus.Note
	if o.HoldFor >= usualTimeout {
		severity = bus.Warn
	}
	return append(f, bus.Finding{
		Severity: severity, Setting: "consumer_timeout", Value: "unknown",
		Consequence: "a delivery that is not settled within it, 30 minutes by default, closes the channel, and all messages of it come again; Options.HoldFor is " + o.HoldFor.String(),
		Remedy:      "keep it above HoldFor and the longest handler",
	})
}

// queueFindings looks at the arguments of a queue.
func queueFindings(q *Queue, v version, o *Options) (f []bus.Finding) {
	warn := func(setting string, value any, consequence, remedy string) {
		f = append(f, bus.Finding{Severity: bus.Warn, Setting: setting, Value: fmt.Sprint(value), Consequence: consequence, Remedy: remedy})
	}
	note := func(setting string, value any, consequence, remedy string) {
		warn(setting, value, consequence, remedy)
		f[len(f)-1].Severity = bus.Note
	}
	if q.Transient {
		warn("Transient", true, "the queue is gone after a restart, with its messages", "make it durable")
	}
	if q.Exclusive {
		warn("Exclusive", true, "the queue is removed with the connection, and its messages with every cut", "share it, or use a durable queue for each consumer")
	}
	if q.AutoDelete {
		warn("AutoDelete", true, "the queue is removed when its last consumer stops, with its messages", "leave it out")
	}
	if expires := q.Args["x-expires"]; expires != nil {
		warn("x-expires", expires, "the queue is removed when nobody uses it for so long, with its messages", "leave it out")
	}
	_, kept := q.Args["x-dead-letter-exchange"]
	lost := func(setting string, value any, what string) {
		if kept {
			note(setting, value, what+" goes to the dead-letter exchange, unprocessed", "keep it out of reach of the longest outage, and watch the dead letters")
		} else {
			warn(setting, value, what+" is dropped without a word", "leave it out, or set x-dead-letter-exchange")
		}
	}
	if ttl := q.Args["x-message-ttl"]; ttl != nil {
		lost("x-message-ttl", ttl, "a message that waits for longer")
	}
	overflow, _ := q.Args["x-overflow"].(string)
	for _, limit := range []string{"x-max-length", "x-max-length-bytes"} {
		if value := q.Args[limit]; value != nil && (overflow == "" || overflow == "drop-head") {
			lost(limit, value, "what is first in a full queue")
		}
	}
	if q.kind() == typeQuorum {
		limit, limited := integer(q.Args["x-delivery-limit"])
		if !limited && !v.before(4, 0) {
			limit, limited = 20, true // the default
		}
		if limited && limit >= 0 {
			lost("x-delivery-limit", limit, "a message that lost connections, restarts and stops brought back more often")
		}
	} else {
		note(typeArg, q.kind(), "the queue is on one node, and deliveries are not counted", "use a quorum queue")
	}
	if kept && q.Args["x-dead-letter-strategy"] != "at-least-once" && o.Rejected == nil {
		note("x-dead-letter-strategy", "at-most-once", "a rejected message can be lost on its way to the dead-letter exchange",
			"hand rejected messages to a sink that waits for the confirmation (DeadLetter), or set at-least-once and x-overflow reject-publish on a quorum queue")
	}
	if timeout, ok := integer(q.Args["x-consumer-timeout"]); ok && time.Duration(timeout)*time.Millisecond <= o.HoldFor {
		warn("x-consumer-timeout", timeout, "a message that is held for "+o.HoldFor.String()+" closes the channel, and all messages of it come again", "set Options.HoldFor to less")
	}
	return f
}
