package amqpbus_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/testutil/amqptest"
	"github.com/oncebus/once/testutil/bustest"
)

func TestMain(m *testing.M) {
	// Tests wait for timers and hardly compute, so many go side by side on few cores.
	// The command line overrules it.
	_ = flag.Set("test.parallel", "64")
	goleak.VerifyTestMain(amqptest.Tests(m))
}

var quiet = slog.New(slog.DiscardHandler)

// rig is a queue, and a client of its own that consumes it.
type rig struct {
	node   *amqptest.Node
	client *amqpbus.Client
	queue  string
	about  *amqpbus.Queue
}

// newRig returns a rig on a quorum queue.
func newRig(t testing.TB) *rig { return rigAt(t, amqptest.Start(t).Addr, &amqpbus.Queue{}) }

// rigAt returns a rig whose client connects to addr.
func rigAt(t testing.TB, addr string, q *amqpbus.Queue) *rig {
	t.Helper()
	node := amqptest.Start(t)
	return &rig{node: node, client: dial(t, addr, nil), queue: "test." + rand.Text(), about: q}
}

// classic is a durable queue that is cheap to make.
func classic() *amqpbus.Queue { return &amqpbus.Queue{Args: amqp.Table{"x-queue-type": "classic"}} }

// dial returns a client that is closed with the test.
func dial(t testing.TB, addr string, o *amqpbus.ClientOptions) *amqpbus.Client {
	t.Helper()
	if o == nil {
		o = &amqpbus.ClientOptions{}
	}
	o.Logger = quiet
	client, err := amqpbus.Dial(t.Context(), o, amqptest.URLAt(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// open makes a Consumer of the rig's queue, which is made if need be.
func (r *rig) open(t testing.TB, o amqpbus.Options) *amqpbus.Consumer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.Declare == nil {
		o.Declare = r.about
	}
	c, err := amqpbus.New(t.Context(), r.client, r.queue, &o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish adds messages with these payloads, which are their ids too. The queue must
// exist.
func (r *rig) publish(t testing.TB, data ...string) {
	t.Helper()
	for _, d := range data {
		if err := r.client.Publish(t.Context(), "", r.queue, amqp.Publishing{MessageId: d, Body: []byte(d)}); err != nil {
			t.Fatal(err)
		}
	}
}

// on runs f with a channel of its own, past any proxy.
func (r *rig) on(t testing.TB, f func(*amqp.Channel) error) error {
	t.Helper()
	conn, err := amqp.Dial(r.node.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return f(ch)
}

// ready returns how many messages of a queue wait for a consumer.
func (r *rig) ready(t testing.TB, queue string) (n int) {
	t.Helper()
	if err := r.on(t, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		n = q.Messages
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// has waits until n messages of a queue wait for a consumer: what a quorum queue is
// told takes effect a moment later.
func (r *rig) has(t testing.TB, queue string, n int) {
	t.Helper()
	bustest.Until(t, fmt.Sprintf("%d messages in %s", n, queue), func() bool { return r.ready(t, queue) == n })
}

// consume runs c.Consume until stop is called or the test ends.
func consume(t testing.TB, c *amqpbus.Consumer, h bus.Handler) (stop func()) {
	t.Helper()
	end := bustest.Background(t, func(ctx context.Context) error { return c.Consume(ctx, h) })
	stop = sync.OnceFunc(func() {
		if err := end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
