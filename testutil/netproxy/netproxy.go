// Package netproxy is a TCP proxy that spoils connections on purpose. It knows
// nothing of what runs over them.
package netproxy

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server. It is safe for concurrent use.
type Proxy struct {
	target string
	listen net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	pairs    map[*pair]struct{}
	closed   bool
	delay    time.Duration
	traps    []*Trap
	counters []*counter
}

// New starts a proxy in front of the server at target that ends with the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("netproxy: %v", err)
	}
	p := &Proxy{target: target, listen: listen, pairs: make(map[*pair]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// Delay holds up every chunk of bytes, in both directions, by d from now on.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut closes all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.close()
	}
}

// Point says at which point a Trap spoils an exchange.
type Point int

// The points.
const (
	// BeforeRequest: the server never sees the request.
	BeforeRequest Point = iota
	// WithinRequest: the server sees half of the request.
	WithinRequest
	// BeforeReply: the server has the request and sends a reply that nobody
	// gets.
	BeforeReply
	// WithinReply: the client gets half of the reply.
	WithinReply
)

// Trap is one exchange that will be spoiled.
type Trap struct {
	point   Point
	match   []byte
	replace func([]byte) []byte
	sprung  chan struct{}
}

// Sprung is closed when the exchange has been spoiled.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Wait waits until the exchange has been spoiled, and fails the test where nothing
// springs the trap for long.
func (t *Trap) Wait(tb testing.TB) {
	tb.Helper()
	select {
	case <-t.sprung:
	case <-time.After(10 * time.Second):
		tb.Fatalf("netproxy: no request with %q passed", t.match)
	}
}

// CutAt cuts the connection of the next request that contains match, at point.
// Requests and replies are told apart by their direction, and taken for one
// chunk of bytes each.
func (p *Proxy) CutAt(point Point, match string) *Trap {
	return p.set(&Trap{point: point, match: []byte(match)})
}

// Replace puts replace's result in the place of the reply to the next request
// that contains match.
func (p *Proxy) Replace(match string, replace func(reply []byte) []byte) *Trap {
	return p.set(&Trap{point: BeforeReply, match: []byte(match), replace: replace})
}

func (p *Proxy) set(t *Trap) *Trap {
	t.sprung = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t
}

// Count returns a function that tells how many requests have contained match since.
func (p *Proxy) Count(match string) (count func() int) {
	c := &counter{match: []byte(match)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counters = append(p.counters, c)
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return c.n
	}
}

type counter struct {
	match []byte
	n     int
}

// take returns the trap that request springs, if any, and removes it.
func (p *Proxy) take(request []byte) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.counters {
		if bytes.Contains(request, c.match) {
			c.n++
		}
	}
	for i, t := range p.traps {
		if bytes.Contains(request, t.match) {
			p.traps = append(p.traps[:i:i], p.traps[i+1:]...)
			return t
		}
	}
	return nil
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &pair{proxy: p, client: client, server: server}
		p.mu.Lock()
		if p.closed {
			c.close()
		}
		p.pairs[c] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(c.requests)
		p.wg.Go(c.replies)
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listen.Close()
	p.Cut()
	p.wg.Wait()
}

// hold waits for the delay that is set.
func (p *Proxy) hold() {
	p.mu.Lock()
	d := p.delay
	p.mu.Unlock()
	if d > 0 {
		timer := time.NewTimer(d)
		<-timer.C
	}
}

// pair is a client's connection and the one to the server that belongs to it.
type pair struct {
	proxy          *Proxy
	client, server net.Conn

	mu   sync.Mutex
	trap *Trap // for the next reply
}

func (c *pair) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}

func (c *pair) end() {
	c.close()
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	delete(c.proxy.pairs, c)
}

func (c *pair) requests() {
	defer c.end()
	buf := make([]byte, 1<<20)
	for {
		n, err := c.client.Read(buf)
		if err != nil {
			return
		}
		c.proxy.hold()
		chunk := buf[:n]
		if t := c.proxy.take(chunk); t != nil {
			switch t.point {
			case BeforeRequest:
				close(t.sprung)
				return
			case WithinRequest:
				_, _ = c.server.Write(chunk[:n/2])
				close(t.sprung)
				return
			}
			c.mu.Lock()
			c.trap = t
			c.mu.Unlock()
		}
		if _, err := c.server.Write(chunk); err != nil {
			return
		}
	}
}

func (c *pair) replies() {
	defer c.end()
	buf := make([]byte, 1<<20)
	for {
		n, err := c.server.Read(buf)
		if err != nil {
			return
		}
		c.proxy.hold()
		chunk := buf[:n]
		c.mu.Lock()
		t := c.trap
		c.trap = nil
		c.mu.Unlock()
		if t != nil {
			switch {
			case t.replace != nil:
				chunk = t.replace(chunk)
			case t.point == WithinReply:
				_, _ = c.client.Write(chunk[:n/2])
				fallthrough
			default:
				close(t.sprung)
				return
			}
			close(t.sprung)
		}
		if _, err := c.client.Write(chunk); err != nil {
			return
		}
	}
}
