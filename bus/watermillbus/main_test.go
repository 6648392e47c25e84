package watermillbus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
)

func TestMain(m *testing.M) {
	// Watermill's own deduplicator begins a goroutine that never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/message/router/middleware.(*mapExpiringKeyRepository).cleanOutLoop"))
}

var errTest = errors.New("handler failed on purpose")

// pubSub returns a pub/sub in memory that is closed with the test.
func pubSub(t testing.TB) *gochannel.GoChannel {
	g := gochannel.NewGoChannel(gochannel.Config{}, nil)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// queue is one subscription of a pub/sub, whose messages the subscriptions of the
// queue share, as the members of a consumer group do.
type queue struct{ messages <-chan *message.Message }

func queueOf(t testing.TB, sub message.Subscriber, topic string) queue {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	messages, err := sub.Subscribe(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	return queue{messages}
}

// Subscribe hands out messages until ctx ends.
func (q queue) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg, ok := <-q.messages:
				if !ok {
					return
				}
				msg.SetContext(ctx)
				select {
				case out <- msg:
				case <-ctx.Done():
					msg.Nack()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Close does nothing: the subscription ends with the test.
func (queue) Close() error { return nil }

func send(t testing.TB, pub message.Publisher, topic string, msgs ...*message.Message) {
	t.Helper()
	if err := pub.Publish(topic, msgs...); err != nil {
		t.Fatal(err)
	}
}

// deduper returns a Deduper on a store of its own.
func deduper(t testing.TB, o dedupe.Options) *dedupe.Deduper {
	t.Helper()
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Consumer = "billing"
	d, err := dedupe.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}
