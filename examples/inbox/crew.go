package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/bus"
)

// crew are the processes in which the transfers happen. This process is their
// bus: it hands out messages, and again those of a process that died.
type crew struct {
	env  string      // tells a process of the bank
	fail func(error) // is told of a process that ended by itself
	next atomic.Int64
	// what the processes told
	failed, panicked, killed, interrupted atomic.Int64
	mu                                    sync.Mutex
	hands                                 []*hand // guarded by mu
	gone                                  sync.WaitGroup
}

// hand is one of the processes.
type hand struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	over    atomic.Bool // it is to end
	mu      sync.Mutex
	sent    int                    // guarded by mu
	waiting map[int]chan<- outcome // guarded by mu; nil: it is dead
}

// order is a message on its way to a process, and outcome what became of it. No
// outcome comes of a process that died.
type order struct {
	N    int
	ID   string
	Data []byte
}

type outcome struct {
	N                int
	Action           bus.Action
	Delay            time.Duration
	Error            string
	Failed, Panicked bool
}

var errDied = errors.New("the process died")

// hire starts the processes. One that ends by itself is told to fail.
func hire(count int, env string, fail func(error)) (*crew, error) {
	c := &crew{env: env, fail: fail}
	for range count {
		h, err := c.start()
		if err != nil {
			c.dismiss()
			return nil, err
		}
		c.hands = append(c.hands, h)
	}
	return c, nil
}

func (c *crew) start() (*hand, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &hand{cmd: exec.Command(exe), waiting: map[int]chan<- outcome{}}
	h.cmd.Env, h.cmd.Stderr = append(os.Environ(), handEnv+"="+c.env), os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	c.gone.Go(func() {
		h.listen(out)
		if err := h.cmd.Wait(); !h.over.Load() {
			c.fail(fmt.Errorf("a process ended by itself: %w", err))
		}
	})
	return h, nil
}

// handle is the handler of the bus.
func (c *crew) handle(ctx context.Context, m *bus.Message) error {
	c.mu.Lock()
	h := c.hands[int(c.next.Add(1))%len(c.hands)]
	c.mu.Unlock()
	o, err := h.do(ctx, order{ID: m.ID, Data: m.Data})
	if o.Failed {
		c.failed.Add(1)
	}
	if o.Panicked {
		c.panicked.Add(1)
	}
	switch {
	case err != nil:
		c.interrupted.Add(1)
		return bus.RetryAfter(err, time.Millisecond)
	case o.Action == bus.ActionAck:
		return nil
	case o.Action == bus.ActionReject:
		return bus.Reject(errors.New(o.Error))
	}
	return bus.RetryAfter(errors.New(o.Error), o.Delay)
}

// kill kills a process as kill -9 does and starts another in its place.
func (c *crew) kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, err := c.start()
	if err != nil {
		return err
	}
	n := int(c.next.Load()) % len(c.hands)
	c.hands[n].over.Store(true)
	_ = c.hands[n].cmd.Process.Kill()
	c.hands[n] = h
	c.killed.Add(1)
	return nil
}

// dismiss ends the processes.
func (c *crew) dismiss() {
	c.mu.Lock()
	for _, h := range c.hands {
		h.over.Store(true)
		_ = h.in.Close()
	}
	c.mu.Unlock()
	c.gone.Wait()
}

// do has the process carry out an order.
func (h *hand) do(ctx context.Context, o order) (outcome, error) {
	reply := make(chan outcome, 1)
	h.mu.Lock()
	if h.waiting == nil {
		h.mu.Unlock()
		return outcome{}, errDied
	}
	h.sent++
	o.N = h.sent
	h.waiting[o.N] = reply
	err := json.NewEncoder(h.in).Encode(o)
	h.mu.Unlock()
	if err != nil {
		return outcome{}, errDied
	}
	select {
	case got, alive := <-reply:
		if !alive {
			return outcome{}, errDied
		}
		return got, nil
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
}

// listen hands on outcomes until the process ends.
func (h *hand) listen(out io.Reader) {
	for lines := json.NewDecoder(bufio.NewReader(out)); ; {
		var o outcome
		err := lines.Decode(&o)
		h.mu.Lock()
		if err != nil {
			for _, reply := range h.waiting {
				close(reply)
			}
			h.waiting = nil
			h.mu.Unlock()
			return
		}
		if reply := h.waiting[o.N]; reply != nil {
			reply <- o
			delete(h.waiting, o.N)
		}
		h.mu.Unlock()
	}
}
