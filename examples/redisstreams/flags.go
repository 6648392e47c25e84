package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
)

// config is what the flags say.
type config struct {
	messages, workers                int
	duplicates, fail, panics, vanish float64
	seed                             uint64
	redis                            string
	json, off, verbose               bool

	name string // of this run: the stream, and the namespace of the claims
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{name: "once-example-" + rand.Text()[:8]}
	fs := flag.NewFlagSet("redisstreams", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&c.messages, "messages", 5000, "how many `orders`")
	fs.Float64Var(&c.duplicates, "duplicates", 0.3, "`share` of the orders that are added again")
	fs.Float64Var(&c.fail, "fail", 0.05, "`share` of the handler's runs that fail")
	fs.Float64Var(&c.panics, "panic", 0.01, "`share` of the handler's runs that panic")
	fs.Float64Var(&c.vanish, "vanish", 0.005, "`share` of the orders whose worker is gone, once, before the ack")
	fs.IntVar(&c.workers, "workers", 8, "how many handlers run at a time, in each of two processes")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	fs.Uint64Var(&c.seed, "seed", 1, "what all chance is derived from")
	fs.BoolVar(&c.json, "json", false, "print the summary as JSON on the last line of the standard output")
	fs.BoolVar(&c.off, "off", false, "switch the deduplication off, to see what the proof says then")
	fs.BoolVar(&c.verbose, "v", false, "log what the library has to say")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(fs.NArg() == 0, "%q is no flag", fs.Args())
	check(c.messages >= 0, "-messages is %d, want 0 or more", c.messages)
	check(c.workers >= 1 && c.workers <= 1000, "-workers is %d, want 1 to 1000", c.workers)
	for name, value := range map[string]float64{"duplicates": c.duplicates, "fail": c.fail, "panic": c.panics, "vanish": c.vanish} {
		check(value >= 0 && value <= 1, "-%s is %v, want 0 to 1", name, value)
	}
	err := errors.Join(errs...)
	if err != nil {
		fmt.Fprintf(stderr, "redisstreams: %v\n", err)
	}
	return c, err
}
