package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// config is what the flags say, and what they leave open.
type config struct {
	messages   int
	duplicates float64
	fail       float64
	panics     float64
	slow       float64
	vanish     float64
	workers    int
	in         string // "" for made-up orders
	idPath     []string
	json       bool
	seed       uint64
	nats       string
	redis      string
	off        bool
	verbose    bool

	name     string        // of this run, in streams and in the store
	patience time.Duration // how long nothing may move
}

// parseFlags reads args. What is wrong with them has been printed to stderr when
// it returns an error; that is flag.ErrHelp when they ask for help.
func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{name: "once-example-" + rand.Text()[:8], patience: time.Minute}
	fs := flag.NewFlagSet("consumer", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "Charges orders once although JetStream delivers many of them again, and proves it.")
		fmt.Fprintln(stderr, "Without flags it brings its own servers and makes orders up.")
		fs.PrintDefaults()
	}
	fs.IntVar(&c.messages, "messages", 10_000, "how many `orders` to make up; not used with -in")
	fs.Float64Var(&c.duplicates, "duplicates", 0.3, "`share` of the orders that are published again; with -in the default is 0, the lines bring their own")
	fs.Float64Var(&c.fail, "fail", 0.05, "`share` of the handler's runs that fail")
	fs.Float64Var(&c.panics, "panic", 0.01, "`share` of the handler's runs that panic")
	fs.Float64Var(&c.slow, "slow", 0.0005, "`share` of the orders whose handler runs for longer than the ack wait")
	fs.Float64Var(&c.vanish, "vanish", 0.005, "`share` of the orders whose worker is gone, once, before the ack")
	fs.IntVar(&c.workers, "workers", 4, "how many handlers run at a time, in two processes")
	fs.StringVar(&c.in, "in", "", "`file` with one order a line, in JSON; - is the standard input")
	id := fs.String("id", "id", "`field` of the line that is the order's id, as a dotted path; used with -in")
	fs.BoolVar(&c.json, "json", false, "print the summary as JSON on the last line of the standard output")
	fs.Uint64Var(&c.seed, "seed", 1, "what all chance is derived from")
	fs.StringVar(&c.nats, "nats", "", "`URL` of a NATS server with JetStream, or several with commas; default is one inside this program")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server, or several with commas for a cluster; default is one inside this program")
	fs.BoolVar(&c.off, "off", false, "switch the deduplication off, to see what the proof says then")
	fs.BoolVar(&c.verbose, "v", false, "log what the library has to say")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if c.in != "" && !given["duplicates"] {
		c.duplicates = 0
	}
	c.idPath = strings.Split(*id, ".")
	err := c.validate(fs.Args(), given)
	if err != nil {
		fmt.Fprintf(stderr, "consumer: %v\nconsumer: -h lists the flags\n", err)
	}
	return c, err
}

// validate returns all that is wrong.
func (c *config) validate(rest []string, given map[string]bool) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(rest) == 0, "%q is no flag", rest)
	check(c.messages >= 0, "-messages is %d, want 0 or more", c.messages)
	check(c.workers >= 1 && c.workers <= 1000, "-workers is %d, want 1 to 1000", c.workers)
	for _, rate := range []struct {
		name  string
		value float64
	}{{"duplicates", c.duplicates}, {"fail", c.fail}, {"panic", c.panics}, {"slow", c.slow}, {"vanish", c.vanish}} {
		check(rate.value >= 0 && rate.value <= 1, "-%s is %v, want 0 to 1", rate.name, rate.value)
	}
	for _, name := range c.idPath {
		check(name != "", "-id is %q, want names with dots between them", strings.Join(c.idPath, "."))
	}
	check(c.in != "" || !given["in"], "-in is empty, want a file or -")
	check(c.in != "" || !given["id"], "-id says where a line has its id and needs -in")
	check(c.nats != "" || !given["nats"], "-nats is empty, want a URL")
	check(c.redis != "" || !given["redis"], "-redis is empty, want a URL or host:port")
	return errors.Join(errs...)
}
