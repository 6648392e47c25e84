package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus/internal/defaults"
)

// ClientOptions are the settings of a Client. The zero value is useful.
type ClientOptions struct {
	// Name is what the server's tools call the connections. Defaults to the name of
	// the host.
	Name string
	// Config is for TLS, authentication, heartbeats and what else amqp091-go has.
	// Its Dial and Recovery must not be set: a Client makes its connections anew
	// itself. Defaults to heartbeats at least every 10 seconds.
	Config amqp.Config
	// Timeout is how long the server may take to accept a connection, to answer a
	// request, to take what is written and to confirm a message. A server that does
	// not answer is disconnected. Defaults to 10 seconds.
	Timeout time.Duration
	// Logger is told when the server takes no messages. It is never given an id or a
	// payload. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o *ClientOptions) withDefaults() (ClientOptions, error) {
	var c ClientOptions
	if o != nil {
		c = *o
	}
	fill := defaults.Of("amqpbus: ClientOptions")
	fill.Duration("Timeout", &c.Timeout, 10*time.Second)
	if err := fill.Err(); err != nil {
		return c, err
	}
	switch {
	case c.Config.Dial != nil:
		return c, errors.New("amqpbus: ClientOptions.Config.Dial is set: leave it nil")
	case c.Config.Recovery != nil:
		return c, errors.New("amqpbus: ClientOptions.Config.Recovery is set: leave it nil, a recovered channel takes the acks of a lost one for its own")
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // it is only shown
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Client is a broker as consumers and publishers reach it: by two connections, one to
// consume and one to publish, so that a server that holds publishers back still takes
// acks. Each is made when it is needed, and made anew when it was lost. A Client is
// safe for concurrent use.
type Client struct {
	opts       ClientOptions
	urls       []string
	consuming  *link
	publishing *link
	confirmers confirmers

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex // guards the end of ctx against another helper
	helpers sync.WaitGroup
}

// Dial returns a Client for the broker at urls, the nodes of one cluster, of which any
// is taken. It connects once, to find out that it can. Options are checked first; the
// error names the one that is wrong, and never contains a URL, which has a password. A
// nil o stands for the defaults.
func Dial(ctx context.Context, o *ClientOptions, urls ...string) (*Client, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(urls) == 0 {
		return nil, errors.New("amqpbus: no URL to dial")
	}
	for i, url := range urls {
		if _, err := amqp.ParseURI(url); err != nil {
			return nil, fmt.Errorf("amqpbus: URL %d of %d is not one: want amqp://user:password@host:port/vhost, with what is special percent-encoded", i+1, len(urls))
		}
	}
	opts.Config.Properties = maps.Clone(opts.Config.Properties)
	if opts.Config.Properties == nil {
		opts.Config.Properties = amqp.NewConnectionProperties()
	}
	c := &Client{opts: opts, urls: append([]string(nil), urls...)}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.consuming, c.publishing = newLink(c, "consuming"), newLink(c, "publishing")
	c.confirmers.room = make(chan struct{}, maxPublishing)
	if _, err := c.consuming.get(ctx); err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

// Close closes the connections and waits until what the Client has started has ended.
// Consume returns ErrClosed then, when its handlers have returned.
func (c *Client) Close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	err := errors.Join(c.consuming.close(), c.publishing.close())
	c.helpers.Wait()
	return err
}

// help calls f in a goroutine for which Close waits. It returns false after Close.
func (c *Client) help(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.helpers.Go(f)
	return true
}
