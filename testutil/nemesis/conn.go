//go:build linux

package nemesis

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

var errReset = errors.New("nemesis: connection reset")

// trap is an exchange that a fault is to strike: the next request that contains
// match.
type trap struct {
	match []byte
	point Point
	order string
	// on is the connection that it is on, nil for any.
	on net.Conn
	// spare is how many such requests pass before it.
	spare int
	// named says that match is followed by the name under which the reply comes:
	// in NATS, where a connection carries many requests at a time.
	named bool
	reply []byte
}

// traps are those of a worker that have not been sprung.
type traps struct {
	w     *worker
	armed atomic.Int64
	mu    sync.Mutex
	list  []*trap
}

func (s *traps) arm(t *trap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, t)
	s.armed.Add(1)
}

func (s *traps) disarm(t *trap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, t); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
		s.armed.Add(-1)
	}
}

// take returns and removes the trap that a request on a connection springs.
func (s *traps) take(c net.Conn, request []byte) *trap {
	if s.armed.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.list {
		_, rest, found := bytes.Cut(request, t.match)
		switch {
		case !found || t.on != nil && t.on != c:
		case t.spare > 0:
			t.spare--
		default:
			if t.named {
				t.reply, _, _ = bytes.Cut(bytes.Clone(rest), []byte(" "))
			}
			s.list = slices.Delete(s.list, i, i+1)
			s.armed.Add(-1)
			return t
		}
	}
	return nil
}

// dialer makes connections that faults can strike, for go-redis.
func (s *traps) dialer(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, traps: s}, nil
}

// Dial is dialer for the NATS client.
func (s *traps) Dial(network, addr string) (net.Conn, error) {
	return s.dialer(context.Background(), network, addr)
}

// conn is a connection of a worker. Requests and replies are told apart by their
// direction: a connection of go-redis carries one command or pipeline at a time,
// and one of pgx one statement.
type conn struct {
	net.Conn
	traps *traps
	reply atomic.Pointer[trap] // strikes when the reply arrives
}

// Write sends a request, and strikes before, within or after it.
func (c *conn) Write(b []byte) (int, error) {
	t := c.traps.take(c, b)
	if t == nil {
		return c.Conn.Write(b)
	}
	w := c.traps.w
	switch {
	case w.Plan.Early:
		if w.act(w.ask(t.point, t.order)) == Reset {
			return 0, c.reset()
		}
	case t.point == P1 || t.point == AtCommit: // half of it is on its way
		half := len(b) / 2
		if n, err := c.Conn.Write(b[:half]); err != nil {
			return n, err
		}
		if w.act(w.ask(t.point, t.order)) == Reset {
			return half, c.reset()
		}
		n, err := c.Conn.Write(b[half:])
		return half + n, err
	case t.point == P8:
		if orderOf(t.order)/max(1, w.Plan.Stride)%2 == 1 { // every other ack is lost
			w.act(w.ask(t.point, t.order))
			return c.Conn.Write(b)
		}
		n, err := c.Conn.Write(b)
		w.act(w.ask(t.point, t.order))
		return n, err
	default:
		c.reply.Store(t)
	}
	return c.Conn.Write(b)
}

// Read receives a reply, unless it is struck.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		t := c.reply.Load()
		if t == nil || n == 0 || !bytes.Contains(b[:n], t.reply) || !c.reply.CompareAndSwap(t, nil) {
			return n, err
		}
		w := c.traps.w
		switch w.act(w.ask(t.point, t.order)) {
		case Reset:
			return 0, c.reset()
		case Drop: // and wait for another, which does not come
		default:
			return n, err
		}
	}
}

// reset closes the connection in the hard way.
func (c *conn) reset() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
	return errReset
}
