//go:build linux

package nemesis

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Link is a TCP connection that the trial has in its hand: a proxy that can be
// cut, frozen, slowed down and led elsewhere. Package netproxy has one for tests
// that spoils single exchanges; workers do that themselves, see conn.go.
type Link struct {
	listen net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the following
	target string
	pairs  map[*pair]struct{}
	closed bool
	refuse bool
	thaw   chan struct{} // not nil while frozen; closed to let bytes pass
	only   string        // the client host whose bytes are frozen, "" for all
	delay  time.Duration
	jitter time.Duration
}

type pair struct{ client, server net.Conn }

func (p *pair) close() {
	_ = p.client.Close()
	_ = p.server.Close()
}

// NewLink starts a link to target.
func NewLink(target string) (*Link, error) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	l := &Link{listen: listen, target: target, pairs: map[*pair]struct{}{}}
	l.wg.Go(l.accept)
	return l, nil
}

// Addr is where clients connect.
func (l *Link) Addr() string { return l.listen.Addr().String() }

// Freeze holds all bytes back, in both directions; connections stay. The other
// end cannot tell it from a slow network.
func (l *Link) Freeze() { l.FreezeOnly("") }

// FreezeOnly is Freeze for the clients that connect from a host.
func (l *Link) FreezeOnly(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.only = host
	if l.thaw == nil {
		l.thaw = make(chan struct{})
	}
}

// Thaw lets bytes pass again, those held back first.
func (l *Link) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thaw != nil {
		close(l.thaw)
		l.thaw = nil
	}
}

// Cut closes all connections and, while refuse is set, every new one.
func (l *Link) Cut(refuse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
	for p := range l.pairs {
		p.close()
	}
}

// Delay holds every chunk of bytes up by d and up to jitter more.
func (l *Link) Delay(d, jitter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.jitter = d, jitter
}

// Retarget leads new connections to another server and cuts the old ones.
func (l *Link) Retarget(target string) {
	l.mu.Lock()
	l.target = target
	l.mu.Unlock()
	l.Cut(false)
}

// Close ends the link.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.listen.Close()
	l.Thaw()
	l.Cut(true)
	l.wg.Wait()
}

func (l *Link) accept() {
	for {
		client, err := l.listen.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.connect(client) })
	}
}

func (l *Link) connect(client net.Conn) {
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close()
		return
	}
	p := &pair{client, server}
	l.mu.Lock()
	if l.closed || l.refuse {
		l.mu.Unlock()
		p.close()
		return
	}
	l.pairs[p] = struct{}{}
	l.mu.Unlock()
	l.wg.Go(func() { l.pump(p, p.server, p.client) })
	l.pump(p, p.client, p.server)
}

func (l *Link) pump(p *pair, to, from net.Conn) {
	defer func() {
		p.close()
		l.mu.Lock()
		delete(l.pairs, p)
		l.mu.Unlock()
	}()
	host, _, _ := net.SplitHostPort(p.client.RemoteAddr().String())
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		l.hold(host)
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hold waits until a chunk to or from a client at host may pass.
func (l *Link) hold(host string) {
	l.mu.Lock()
	thaw, d := l.thaw, l.delay
	if l.only != "" && l.only != host {
		thaw = nil
	}
	if l.jitter > 0 {
		d += rand.N(l.jitter)
	}
	l.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
	if d > 0 {
		timer := time.NewTimer(d)
		<-timer.C
	}
}
