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
	"slices"
	"strings"
	"syscall"

	"github.com/oncebus/once/testutil/nemesis"
)

func main() {
	nemesis.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the flags.
type settings struct {
	messages int
	short    bool
	seed     int
	faults   []string
	json     bool
	parallel int
	out      string
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	var faults string
	f := flag.NewFlagSet("prove", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&s.messages, "messages", 0, "orders over all trials (default 1,000,000, with -short 150,000)")
	f.BoolVar(&s.short, "short", false, "the version of a few minutes, for CI")
	f.IntVar(&s.seed, "seed", 1, "which orders the faults strike")
	f.StringVar(&faults, "fault", "", "only these faults, as F1,F6; \"controls\" are the negative controls")
	f.BoolVar(&s.json, "json", false, "print the results as JSON")
	f.IntVar(&s.parallel, "parallel", 2, "trials at a time")
	f.StringVar(&s.out, "o", "", "write proof.md and proof.json into this folder (default docs for a full run of all faults, else nowhere)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("prove: unexpected argument %q", f.Arg(0))
	}
	if faults != "" {
		s.faults = strings.Split(faults, ",")
	}
	for _, name := range s.faults {
		if name != controls && name != noFault && !slices.ContainsFunc(matrix, func(r row) bool { return r.fault == name }) {
			return nil, fmt.Errorf("prove: -fault %s: no such fault", name)
		}
	}
	switch {
	case s.parallel < 1:
		return nil, errors.New("prove: -parallel is less than 1")
	case s.messages < 0:
		return nil, errors.New("prove: -messages is negative")
	case s.messages == 0 && s.short:
		s.messages = 150_000
	case s.messages == 0:
		s.messages = 1_000_000
	}
	if s.out == "" && !s.short && faults == "" {
		s.out = "docs"
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
	c := newCampaign(s, stderr)
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	p := c.proof(args)
	if s.json {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		err = out.Encode(p)
	} else {
		_, err = io.WriteString(stdout, p.text())
	}
	if err == nil && s.out != "" {
		err = p.write(s.out)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	case len(p.Failures) > 0:
		return 1
	}
	return 0
}
