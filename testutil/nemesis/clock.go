//go:build linux

package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrNoClock is returned where a server's clock cannot be stepped.
var ErrNoClock = errors.New("nemesis: no libfaketime: install libfaketime")

// Clock is the clock of a server, which can be stepped while it runs. The nil
// Clock is the machine's.
type Clock struct {
	library, file string
	offset        time.Duration
}

// NewClock returns a clock that shows the machine's time until it is stepped.
func NewClock(dir string) (*Clock, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		return nil, ErrNoClock
	}
	c := &Clock{library: found[0], file: filepath.Join(dir, "clock")}
	return c, c.write()
}

// Step moves the clock by d.
func (c *Clock) Step(d time.Duration) error {
	c.offset += d
	return c.write()
}

func (c *Clock) write() error {
	next := c.file + ".next" // the server reads the file at every call
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+f\n", c.offset.Seconds()), 0o600); err != nil {
		return fmt.Errorf("nemesis: %w", err)
	}
	return os.Rename(next, c.file)
}

// env is what makes a server use the clock. Its monotonic clock stays true, as
// it does when the time of a machine is set.
func (c *Clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}
