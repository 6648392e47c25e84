package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// link is a connection that is made when it is needed and was lost.
type link struct {
	c    *Client
	role string
	turn chan struct{} // has room for one: who looks at the following

	conn *connection
}

// connection is one connection to the server.
type connection struct {
	*amqp.Connection
	wire    *wire
	timeout time.Duration

	mu      sync.Mutex
	blocked chan struct{} // closed when the server takes messages again; nil when it does
}

func newLink(c *Client, role string) *link {
	return &link{c: c, role: role, turn: make(chan struct{}, 1)}
}

// get returns the connection that lives, or makes one.
func (l *link) get(ctx context.Context) (*connection, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.conn != nil && !l.conn.IsClosed() {
		return l.conn, nil
	}
	if l.c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	conn, err := l.dial(ctx)
	switch {
	case err != nil && l.c.ctx.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	if !l.c.help(func() { l.watch(conn, blocks) }) {
		_ = conn.end()
		return nil, ErrClosed
	}
	l.conn = conn
	return conn, nil
}

// dial tries the nodes one after the other, from one at random.
func (l *link) dial(ctx context.Context) (conn *connection, err error) {
	first := rand.IntN(len(l.c.urls))
	for i := range l.c.urls {
		conn, err = l.dialOne(ctx, l.c.urls[(first+i)%len(l.c.urls)])
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return conn, err
}

func (l *link) dialOne(ctx context.Context, url string) (*connection, error) {
	config := l.c.opts.Config
	config.Properties = maps.Clone(config.Properties)
	config.Properties.SetClientConnectionName(l.c.opts.Name + ", " + l.role)
	config.TLSClientConfig = config.TLSClientConfig.Clone() // the library names the server in it
	timeout := l.c.opts.Timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(l.c.ctx, cancel)()
	var w *wire
	config.Dial = func(network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w = &wire{Conn: conn, timeout: timeout}
		context.AfterFunc(ctx, w.handshakeEnds)
		return w, nil
	}
	conn, err := amqp.DialConfig(url, config)
	if err == nil && !w.ready() {
		err = context.DeadlineExceeded
	}
	if err != nil {
		if w != nil {
			_ = w.Close()
		}
		return nil, fmt.Errorf("amqpbus: connect: %w", err)
	}
	return &connection{Connection: conn, wire: w, timeout: timeout}, nil
}

// watch notes when the server takes no messages, until the connection is closed.
func (l *link) watch(conn *connection, blocks <-chan amqp.Blocking) {
	for b := range blocks {
		conn.mu.Lock()
		switch {
		case b.Active && conn.blocked == nil:
			conn.blocked = make(chan struct{})
			l.c.opts.Logger.Warn("amqpbus: the server takes no messages", "reason", b.Reason)
		case !b.Active && conn.blocked != nil:
			close(conn.blocked)
			conn.blocked = nil
			l.c.opts.Logger.Info("amqpbus: the server takes messages again")
		}
		conn.mu.Unlock()
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.blocked != nil {
		close(conn.blocked)
		conn.blocked = nil
	}
}

// whenUnblocked returns what is closed when the server takes messages again, nil when
// it does.
func (conn *connection) whenUnblocked() <-chan struct{} {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.blocked
}

// channel opens a channel.
func (conn *connection) channel() (ch *amqp.Channel, err error) {
	err = conn.ask(func() (err error) {
		ch, err = conn.Channel()
		return err
	})
	return ch, err
}

// ask sends a request and waits for the answer. The library waits for ever; so
// a server that does not answer in time is disconnected.
func (conn *connection) ask(request func() error) error {
	watchdog := time.AfterFunc(conn.timeout, func() { _ = conn.wire.Close() })
	err := request()
	if !watchdog.Stop() {
		return errors.Join(errTimeout, err)
	}
	return err
}

// end closes the connection in order, and else without.
func (conn *connection) end() error {
	err := conn.ask(conn.Close)
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

// close closes the connection, if there is one, for good.
func (l *link) close() error {
	l.turn <- struct{}{} // who dials learns that the client is closed
	defer func() { <-l.turn }()
	if l.conn == nil {
		return nil
	}
	return l.conn.end()
}

// wire is a connection whose writes do not wait for ever: a server that is short of
// memory stops reading.
type wire struct {
	net.Conn
	timeout time.Duration

	mu    sync.Mutex
	shook bool // the handshake is over
	late  bool // it was not when its time was
}

// Write writes within the timeout, or breaks the connection.
func (w *wire) Write(b []byte) (int, error) {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

// handshakeEnds closes a connection whose handshake took too long.
func (w *wire) handshakeEnds() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.shook {
		w.late = true
		_ = w.Close()
	}
}

// ready says that the handshake is over, and reports whether it was in time.
func (w *wire) ready() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shook = true
	return !w.late
}

// once asks the server for something on a channel of its own, which an error closes.
func (l *link) once(ctx context.Context, request func(*amqp.Channel) error) error {
	conn, err := l.get(ctx)
	if err != nil {
		return err
	}
	ch, err := conn.channel()
	if err != nil {
		return err
	}
	err = conn.ask(func() error { return request(ch) })
	if ch.IsClosed() {
		return err
	}
	return errors.Join(err, conn.ask(ch.Close))
}
