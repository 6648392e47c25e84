// Package drilltest runs the example programs in their tests and checks what every
// run must prove.
package drilltest

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/oncebus/once/examples/drill"
)

// Buffer is a bytes.Buffer that may be read while it is written.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Output is what a run left.
type Output struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program that was given -json, and reads its summary from the last line
// of the standard output. It shows everything when the test fails.
func Run(t *testing.T, summary any, program func(stdout, stderr io.Writer) int) Output {
	t.Helper()
	var stdout, stderr Buffer
	code := program(&stdout, &stderr)
	o := Output{code, stdout.String(), stderr.String()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("exit status %d\n%s%s", o.Code, o.Stderr, o.Stdout)
		}
	})
	lines := strings.Split(strings.TrimSuffix(o.Stdout, "\n"), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), summary); err != nil {
		t.Fatalf("the last line is not the summary: %v", err)
	}
	if !strings.Contains(o.Stderr, "CHARGED MORE THAN ONCE") || strings.Contains(o.Stdout, "CHARGED") {
		t.Error("with -json the table goes to the standard error alone")
	}
	return o
}

// Equal fails the test when a number is not what it should be.
func Equal[N int | int64](t *testing.T, name string, got, want N) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %d, want %d", name, got, want)
	}
}

// Proven checks that a run ended by itself with nothing lost or doubled, and that
// its numbers add up.
func Proven(t *testing.T, o Output, s *drill.Summary) {
	t.Helper()
	Equal(t, "exit status", o.Code, 0)
	Equal(t, "lost", s.Lost, 0)
	Equal(t, "double_effects", s.DoubleEffects, 0)
	Equal(t, "unsettled", s.Unsettled, 0)
	Equal(t, "unique", s.Unique, s.Handled+s.Dead)
	Equal(t, "charges", s.Charges, int64(s.Handled))
	Equal(t, "deliveries", s.Deliveries, s.Charges+s.Retried+s.Duplicates+s.Pending+s.GivenUp+s.Other)
}

// Shown checks that a run has some of everything.
func Shown(t *testing.T, numbers map[string]int64) {
	t.Helper()
	for name, n := range numbers {
		if n == 0 {
			t.Errorf("%s is 0: the run shows nothing of it", name)
		}
	}
}

// WrongFlags checks that a program refuses each of the flags with the words that
// follow them, on the standard error alone, and that -h is no failure.
func WrongFlags(t *testing.T, program func(args []string, stdout, stderr io.Writer) int, wrong map[string]string) {
	t.Helper()
	for args, want := range wrong {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr Buffer
			Equal(t, "exit status", program(strings.Fields(args), &stdout, &stderr), 2)
			if !strings.Contains(stderr.String(), want) || stdout.String() != "" {
				t.Errorf("printed %q and %q, want %q on the standard error", &stdout, &stderr, want)
			}
		})
	}
	var stdout, stderr Buffer
	Equal(t, "exit status of -h", program([]string{"-h"}, &stdout, &stderr), 0)
}
