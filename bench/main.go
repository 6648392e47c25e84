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
	short   bool
	only    *regexp.Regexp
	out     string
	readme  string // gets the table of figures; "" none
	json    bool
	seed    uint64
	profile string

	turns  int           // of each comparison
	warm   time.Duration // before each sample
	sample time.Duration
	shrink int // counts of a full run are divided by it
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{turns: 5, warm: 200 * time.Millisecond, sample: 800 * time.Millisecond, shrink: 1}
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&s.short, "short", false, "seconds instead of minutes; the figures mean nothing")
	f.StringVar(&only, "only", "", "only the parts whose name, or the name of a line, matches this regular expression")
	f.StringVar(&s.out, "o", "", "write the documents into this folder (default ../docs for a full run of everything, else nowhere)")
	f.BoolVar(&s.json, "json", false, "print the report as JSON")
	f.Uint64Var(&s.seed, "seed", 1, "of the message ids")
	f.StringVar(&s.profile, "profile", "", "write profiles of the client, and what the server's commands cost, for 256 callers into this folder")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("bench: unexpected argument %q", f.Arg(0))
	}
	var err error
	if s.only, err = regexp.Compile(only); err != nil {
		return nil, fmt.Errorf("bench: -only: %w", err)
	}
	if s.short {
		s.turns, s.warm, s.sample, s.shrink = 3, 20*time.Millisecond, 60*time.Millisecond, 64
	}
	if s.out == "" && !s.short && only == "" {
		s.out, s.readme = "../docs", "../README.md"
	}
	return s, nil
}

// run is the program without its process. It returns the exit status.
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
	if err == nil && s.out != "" && !r.Void {
		err = errors.Join(r.write(s.out), r.writeReadme(s.readme))
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	case r.Void:
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
	_, err := io.WriteString(stdout, r.text())
	return err
}
