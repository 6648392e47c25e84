//go:build linux

package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// orders is the trial's own way to its bus.
type orders interface {
	// setUp makes what orders are published to, and what dead letters are.
	setUp(ctx context.Context) error
	// send publishes messages and returns those that the bus did not confirm.
	send(ctx context.Context, ids []string) (again []string, err error)
	// left returns how many messages are not settled.
	left(ctx context.Context) (int, error)
	// dead returns the orders that the dead letters are of, one for each.
	dead(ctx context.Context) ([]string, error)
	close()
}

// orders connects to the bus.
func (w *World) orders() (orders, error) {
	if w.Kafka != nil {
		return connectKafka(w.Kafka.Addr)
	}
	return connectJetStream(w.Bus.URL())
}

type jetStreamOrders struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func connectJetStream(url string) (orders, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000), jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	return &jetStreamOrders{nc, js}, nil
}

func (o *jetStreamOrders) close() { o.nc.Close() }

func (o *jetStreamOrders) setUp(ctx context.Context) error {
	if _, err := o.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"orders"}, Retention: jetstream.WorkQueuePolicy,
	}); err != nil {
		return err
	}
	if _, err := o.js.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 10_000,
	}); err != nil {
		return err
	}
	_, err := o.js.CreateStream(ctx, jetstream.StreamConfig{Name: "DEAD", Subjects: []string{deadName}})
	return err
}

func (o *jetStreamOrders) send(ctx context.Context, ids []string) (again []string, err error) {
	futures := make([]jetstream.PubAckFuture, len(ids))
	for i, id := range ids {
		m := &nats.Msg{Subject: "orders", Header: nats.Header{HeaderOrder: {id}}, Data: []byte(id)}
		futures[i], _ = o.js.PublishMsgAsync(m) // a nil future is repeated
	}
	for i, f := range futures {
		if f == nil {
			again = append(again, ids[i])
			continue
		}
		select {
		case <-f.Ok():
		case <-f.Err():
			again = append(again, ids[i])
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return again, nil
}

func (o *jetStreamOrders) left(ctx context.Context) (int, error) {
	s, err := o.js.Stream(ctx, streamName)
	if err != nil {
		return -1, err
	}
	return int(s.CachedInfo().State.Msgs), nil
}

func (o *jetStreamOrders) dead(ctx context.Context) (ids []string, err error) {
	s, err := o.js.Stream(ctx, "DEAD")
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		ids = append(ids, m.Header.Get(HeaderOrder))
	}
	return ids, nil
}
