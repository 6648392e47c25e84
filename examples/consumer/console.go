package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/oncebus/once/examples/drill"
)

// console writes to the standard error: lines, and one line of progress that is
// rewritten on a terminal and printed now and then elsewhere. It is safe for
// concurrent use.
type console struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	shown    bool // whether the cursor stands behind a line of progress
	begun    time.Time
	last     time.Time
}

func newConsole(w io.Writer) *console {
	c := &console{w: w, begun: time.Now(), last: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		c.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return c
}

// Write writes p, which is whole lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	return c.w.Write(p)
}

// progress shows how far the job is.
func (c *console) progress(m movement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	every := 2 * time.Second
	if c.terminal {
		every = 100 * time.Millisecond
	}
	now := time.Now()
	if now.Sub(c.last) < every {
		return
	}
	c.last = now
	c.erase()
	fmt.Fprintf(c.w, "%4.0f s  published %s  charged %s  given up %s  open %s", now.Sub(c.begun).Seconds(),
		drill.Thousands(m.published), drill.Thousands(m.Handled), drill.Thousands(m.Dead), drill.Thousands(m.Open))
	if c.terminal {
		c.shown = true
	} else {
		fmt.Fprintln(c.w)
	}
}

// end takes the line of progress away.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
}

// erase removes the line of progress. The lock is held.
func (c *console) erase() {
	if c.shown {
		fmt.Fprint(c.w, "\r\x1b[K")
		c.shown = false
	}
}
