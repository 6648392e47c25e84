//go:build linux

package nemesis

import (
	_ "embed" // for the library
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrNoClock is returned where a server's clock cannot be stepped.
var ErrNoClock = errors.New("nemesis: no C compiler for the library that steps a clock: install gcc")

// clockSource is a library for LD_PRELOAD. libfaketime would do the same and
// does not start with Redis, whose allocator reads the time before it is ready.
//
//go:embed preload/clock.c
var clockSource []byte

// Clock is the clock of a server, which can be stepped while it runs. The nil
// Clock is the machine's.
type Clock struct {
	library, file string
	offset        time.Duration
}

// NewClock returns a clock that shows the machine's time until it is stepped. It
// keeps its files in dir.
func NewClock(dir string) (*Clock, error) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, ErrNoClock
	}
	source := filepath.Join(dir, "clock.c")
	c := &Clock{library: filepath.Join(dir, "clock.so"), file: filepath.Join(dir, "clock")}
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return nil, fmt.Errorf("nemesis: clock: %w", err)
	}
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-O2", "-o", c.library, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("nemesis: clock: %w: %s", err, out)
	}
	return c, c.Step(0)
}

// Step moves the clock by d.
func (c *Clock) Step(d time.Duration) error {
	c.offset += d
	// The server has the file in its memory: it must stay the same file.
	file, err := os.OpenFile(c.file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("nemesis: clock: %w", err)
	}
	_, err = file.Write(binary.NativeEndian.AppendUint64(nil, uint64(c.offset)))
	return errors.Join(err, file.Close())
}

// env is what makes a server use the clock.
func (c *Clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "NEMESIS_CLOCK=" + c.file}
}
