//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

// The table of the README stands between these lines.
const (
	readmeBegin = "<!-- written by go run -C bench . -->\n"
	readmeEnd   = "<!-- end -->\n"
)

// inReadme are the lines that the README shows.
var inReadme = []string{
	doP50, do256Eval, do256R, do1024R, batchR, batchCPU, do256Allocs, memRate, localRate,
	plainBytes, packedBytes, positionBytes, streamRatio, remembered, peerSame,
}

// writeReadme puts the table into the file; "" is none.
func (r *report) writeReadme(name string) error {
	if name == "" {
		return nil
	}
	text, err := os.ReadFile(name)
	if err == nil {
		text, err = r.spliced(text)
	}
	if err == nil {
		err = os.WriteFile(name, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// spliced returns the README with the table in its place.
func (r *report) spliced(readme []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(readme, []byte(readmeBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(readmeEnd))
	if !ok || !ok2 {
		return nil, errors.New("the README has no place for the table")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s", before, readmeBegin)
	fmt.Fprint(&b, "| figure | measured |\n|---|--:|\n")
	for _, name := range inReadme {
		fmt.Fprintf(&b, "| %s | %s |\n", name, r.line(name).figure())
	}
	fmt.Fprintf(&b, "\n%s, redis-server %s on the same machine. **R** is the raw limit: two plain SETs a message, by hand, a hundred at a time.\n",
		r.Machine, r.Versions["redis-server"])
	fmt.Fprint(&b, "What is demanded, how each was measured, and what peers do and do not guarantee: [docs/performance.md](docs/performance.md).\n")
	fmt.Fprintf(&b, "%s%s", readmeEnd, after)
	return []byte(b.String()), nil
}
