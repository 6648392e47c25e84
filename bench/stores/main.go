//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the flags and what follows from them.
type settings struct {
	only  *regexp.Regexp
	parts []string
	ids   []int
	rows  []int
	out   string
	json  bool
	short bool

	turns        int
	warm, sample time.Duration
	// life is the lease, and the retention after it, of ids that end under load.
	life time.Duration
}

var allParts = []string{"rate", "bytes", "clean", "filter", "rows"}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{warm: 200 * time.Millisecond, sample: 800 * time.Millisecond, life: time.Second}
	var only, parts, ids, rows string
	f := flag.NewFlagSet("stores", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&s.short, "short", false, "seconds instead of minutes; the figures mean nothing")
	f.StringVar(&only, "only", "", "only the stores whose name matches this regular expression")
	f.StringVar(&parts, "parts", strings.Join(allParts, ","), "what to measure")
	f.IntVar(&s.turns, "turns", 5, "of each comparison")
	f.StringVar(&ids, "ids", "1000000", "how many ids are remembered for bytes")
	f.StringVar(&rows, "rows", "1000000,10000000", "sizes of an SQL store's table")
	f.StringVar(&s.out, "o", "", "write the documents into this folder, where figures that were not measured stay (default ../docs for a full run of everything, else nowhere)")
	f.BoolVar(&s.json, "json", false, "print the report as JSON")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("stores: unexpected argument %q", f.Arg(0))
	}
	var err error
	if s.only, err = regexp.Compile(only); err != nil {
		return nil, fmt.Errorf("stores: -only: %w", err)
	}
	s.parts = strings.Split(parts, ",")
	for _, p := range s.parts {
		if !slices.Contains(allParts, p) {
			return nil, fmt.Errorf("stores: -parts: %q is none of %v", p, allParts)
		}
	}
	if s.short {
		s.turns, s.warm, s.sample, s.life = 2, 20*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond
		ids, rows = "2000,4000", "2000,20000"
	}
	if s.ids, err = sizes(ids); err != nil {
		return nil, fmt.Errorf("stores: -ids: %w", err)
	}
	if s.rows, err = sizes(rows); err != nil {
		return nil, fmt.Errorf("stores: -rows: %w", err)
	}
	if s.turns < 1 {
		return nil, fmt.Errorf("stores: -turns is %d, want 1 or more", s.turns)
	}
	if s.out == "" && !s.short && only == "" && len(s.parts) == len(allParts) {
		s.out = "../docs"
	}
	return s, nil
}

// sizes reads a list of rising numbers.
func sizes(list string) (all []int, err error) {
	last := 999
	for number := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(number)
		if err != nil || n <= last {
			return nil, fmt.Errorf("%q is no list of rising numbers from 1,000 on", list)
		}
		all, last = append(all, n), n
	}
	return all, nil
}

func (s *settings) wants(part string) bool { return slices.Contains(s.parts, part) }

// run is the program without its process. It returns the exit status: 1 when no
// figure counts, 2 when it failed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	}
	r, err := measure(ctx, s, args, stderr)
	if err == nil {
		err = print(r, s, stdout)
	}
	if err == nil && s.out != "" && !r.void() {
		err = r.merge(s.out, len(s.parts) == len(allParts) && s.only.String() == "")
		if err == nil {
			err = r.write(s.out)
		}
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	case len(r.Failed) > 0:
		return 2
	case r.void():
		return 1
	}
	return 0
}

func print(r *report, s *settings, stdout io.Writer) error {
	if s.json {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	_, err := io.WriteString(stdout, r.tables())
	return err
}
