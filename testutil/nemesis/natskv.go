//go:build linux

package nemesis

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/backends/natsstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

const bucketName = "claims"

// connectNATS connects a worker, with connections that faults can strike.
func (w *worker) connectNATS(ctx context.Context, addr string) (*nats.Conn, error) {
	return persistently(ctx, func() (*nats.Conn, error) {
		return nats.Connect("nats://"+addr, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
			nats.SetCustomDialer(&w.traps), nats.ReconnectBufSize(-1), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2))
	})
}

// onNATS claims in a bucket.
func (w *worker) onNATS(ctx context.Context, messages *source) (bus.Handler, finish, error) {
	nc, err := w.connectNATS(ctx, w.Stores[0])
	if err != nil {
		return nil, nil, err
	}
	closed := func() error { nc.Close(); return nil }
	js, err := jetstream.New(nc)
	var store *natsstore.Store
	if err == nil {
		store, err = persistently(ctx, func() (*natsstore.Store, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return natsstore.New(ctx, js, bucketName, &natsstore.Options{Logger: w.logger})
		})
	}
	if err != nil {
		return nil, nil, errors.Join(err, closed())
	}
	// What is written is published to the record's subject.
	written := func(d claim.Digest) trap {
		return trap{match: []byte("$KV." + bucketName + "." + d.String() + " "), named: true}
	}
	return w.dedupe(&watched{Store: store, w: w, match: written}, messages, closed)
}

// makeBucket makes the bucket.
func makeBucket(ctx context.Context, url string) error {
	m, err := dialNATS(url)
	if err != nil {
		return err
	}
	defer m.close()
	_, err = m.js.CreateStream(ctx, natsstore.StreamConfig(bucketName))
	return err
}

type natsMemory struct {
	claim.Inspector
	nc *nats.Conn
	js jetstream.JetStream
}

func dialNATS(url string) (*natsMemory, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &natsMemory{nc: nc, js: js}, nil
}

func rememberNATS(ctx context.Context, url string) (memory, error) {
	m, err := dialNATS(url)
	if err != nil {
		return nil, err
	}
	if m.Inspector, err = natsstore.New(ctx, m.js, bucketName, nil); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *natsMemory) close() { m.nc.Close() }

func (m *natsMemory) endless(ctx context.Context) (names []string, err error) {
	stream, err := m.js.Stream(ctx, natsstore.StreamConfig(bucketName).Name)
	if err != nil {
		return nil, err
	}
	all, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return nil, err
	}
	messages, err := all.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for range stream.CachedInfo().State.Msgs {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		if msg.Headers().Get(jetstream.MsgTTLHeader) == "" {
			names = append(names, msg.Subject())
		}
	}
	return names, nil
}
