//go:build linux

package nemesis

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Sink is a downstream system that checks the fence: one row for each order,
// which a writer replaces only with a higher fence than the row's. It keeps what
// it accepted and refused.
type Sink struct{ dir string }

// NewSink returns the sink in dir.
func NewSink(dir string) *Sink { return &Sink{dir} }

// Put writes the row of an order. It reports whether the fence was accepted.
func (s *Sink) Put(order string, fence uint64) (accepted bool, err error) {
	file, err := os.OpenFile(filepath.Join(s.dir, order), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return false, fmt.Errorf("nemesis: sink: %w", err)
	}
	defer func() { _ = file.Close() }() // which gives the lock back, as a kill does
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return false, fmt.Errorf("nemesis: sink: %w", err)
	}
	accepts, _, err := s.history(order)
	if err != nil {
		return false, err
	}
	word := "accepted"
	if len(accepts) > 0 && fence <= accepts[len(accepts)-1] {
		word = "refused"
	}
	_, err = fmt.Fprintf(file, "%s %d\n", word, fence)
	return word == "accepted", err
}

// history returns the fences accepted for an order, oldest first, and how many
// were refused.
func (s *Sink) history(order string) (accepted []uint64, refused int, err error) {
	text, err := os.ReadFile(filepath.Join(s.dir, order))
	if err != nil && !os.IsNotExist(err) {
		return nil, 0, fmt.Errorf("nemesis: sink: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		word, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		fence, err := strconv.ParseUint(number, 10, 64)
		switch {
		case err != nil:
			return nil, 0, fmt.Errorf("nemesis: sink: line %q: %w", line, err)
		case word == "accepted":
			accepted = append(accepted, fence)
		default:
			refused++
		}
	}
	return accepted, refused, nil
}
