//go:build linux

package nemesis

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Hit is a fault that was triggered.
type Hit struct {
	At    int64 // Unix nanoseconds
	Pid   int   // of the worker
	Point Point
	Order string
}

// control is the trial's end of the conversation with its workers.
type control struct {
	listen net.Listener
	answer func(Hit) Action
	wg     sync.WaitGroup

	mu    sync.Mutex
	asked map[string]bool // orders; each triggers once
	told  map[string]bool // orders whose fault has struck
	conns map[net.Conn]bool
	done  bool
}

func startControl(path string, answer func(Hit) Action) (*control, error) {
	listen, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("nemesis: control: %w", err)
	}
	c := &control{listen: listen, answer: answer, asked: map[string]bool{}, told: map[string]bool{}, conns: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	return c, nil
}

func (c *control) accept() {
	for {
		conn, err := c.listen.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		if c.done {
			_ = conn.Close()
		}
		c.conns[conn] = true
		c.mu.Unlock()
		c.wg.Go(func() { c.serve(conn) })
	}
}

func (c *control) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for scan := bufio.NewScanner(conn); scan.Scan(); {
		h := Hit{At: time.Now().UnixNano()}
		if _, err := fmt.Sscan(scan.Text(), &h.Pid, &h.Point, &h.Order); err != nil {
			return
		}
		c.mu.Lock()
		first := !c.asked[h.Order] && !c.done
		c.asked[h.Order] = true
		c.mu.Unlock()
		action := GoOn
		if first {
			action = c.answer(h)
			c.mu.Lock()
			c.told[h.Order] = true
			c.mu.Unlock()
		}
		if _, err := fmt.Fprintln(conn, action); err != nil {
			return
		}
	}
}

// struck reports whether an order's fault has struck.
func (c *control) struck(order string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[order]
}

func (c *control) close() {
	c.mu.Lock()
	c.done = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	_ = c.listen.Close()
	c.wg.Wait()
}

// asker is the worker's end.
type asker struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

func dialControl(path string) (*asker, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("nemesis: control: %w", err)
	}
	return &asker{conn: conn, in: bufio.NewReader(conn)}, nil
}

// ask tells the trial that an order is at a point and returns what to do.
func (a *asker) ask(point Point, order string) Action {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := fmt.Fprintln(a.conn, os.Getpid(), point, order); err != nil {
		return GoOn // the trial is over
	}
	text, err := a.in.ReadString('\n')
	if err != nil {
		return GoOn
	}
	return Action(strings.TrimSpace(text))
}

func (a *asker) close() error {
	return a.conn.Close()
}
