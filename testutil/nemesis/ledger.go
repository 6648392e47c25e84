//go:build linux

package nemesis

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The kinds of a ledger's lines.
const (
	lineStart    = "start"    // the handler starts
	lineEffect   = "effect"   // it has its effect
	lineEnd      = "end"      // it has returned; note: ok, failed or lost
	lineSettled  = "settled"  // what the bus is told of a delivery that ran
	linePassed   = "passed"   // the same of one that did not run
	lineTakeover = "takeover" // a claim was granted because a lease had run out
	lineLost     = "lost"     // a commit was refused: another owner has the key
	lineRecover  = "recover"  // a commit found that the store had lost the claim
	lineCancel   = "cancel"   // a running handler's context was cancelled
	lineCircuit  = "circuit"  // note: open or closed
)

// Line is one event, seen by the process that writes it.
type Line struct {
	At      int64 // Unix nanoseconds on the machine's clock, which all processes share
	Pid     int
	Kind    string
	Order   string // the id of the order, "-" for events of the process
	Run     int    // the number of the delivery within its process, 0 unknown
	Fence   uint64
	Attempt int
	Note    string // without blanks; "-" for none
}

// Ledger is an append-only file that many processes write to. It knows nothing
// of deduplication. A line is one write(2) to a file opened with O_APPEND: it is
// there whole or not at all, whenever the writer is killed.
type Ledger struct{ file *os.File }

// OpenLedger opens the ledger at path, which it makes if need be.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nemesis: ledger: %w", err)
	}
	return &Ledger{file}, nil
}

// Write appends a line; the time and the process are filled in.
func (l *Ledger) Write(e Line) error {
	b := make([]byte, 0, 128)
	b = strconv.AppendInt(b, time.Now().UnixNano(), 10)
	b = fmt.Appendf(b, " %d %s %s %d %d %d %s\n", os.Getpid(), e.Kind, e.Order, e.Run, e.Fence, e.Attempt, orDash(e.Note))
	if _, err := l.file.Write(b); err != nil {
		return fmt.Errorf("nemesis: ledger: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ReadLedger returns all lines, in the order in which they were written.
func ReadLedger(path string) ([]Line, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("nemesis: ledger: %w", err)
	}
	defer func() { _ = file.Close() }()
	var lines []Line
	for scan := bufio.NewScanner(file); ; {
		if !scan.Scan() {
			return lines, scan.Err()
		}
		line, err := parseLine(scan.Text())
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
}

func parseLine(text string) (Line, error) {
	f := strings.Fields(text)
	if len(f) != 8 {
		return Line{}, fmt.Errorf("nemesis: ledger: torn line %q", text)
	}
	var l Line
	var errs [5]error
	l.At, errs[0] = strconv.ParseInt(f[0], 10, 64)
	l.Pid, errs[1] = strconv.Atoi(f[1])
	l.Kind, l.Order, l.Note = f[2], f[3], f[7]
	l.Run, errs[2] = strconv.Atoi(f[4])
	l.Fence, errs[3] = strconv.ParseUint(f[5], 10, 64)
	l.Attempt, errs[4] = strconv.Atoi(f[6])
	for _, err := range errs {
		if err != nil {
			return Line{}, fmt.Errorf("nemesis: ledger: line %q: %w", text, err)
		}
	}
	return l, nil
}
