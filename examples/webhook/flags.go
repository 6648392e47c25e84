package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"
)

// config is what the flags say.
type config struct {
	messages   int
	duplicates float64
	drop       float64
	fail       float64
	panics     float64
	slow       float64
	forged     float64
	workers    int
	json       bool
	seed       uint64
	redis      *redis.Options // nil: one inside this program
	off        bool
	verbose    bool

	name string // of this run, in the store
}

// parseFlags reads args. What is wrong with them has been printed to stderr when
// it returns an error; that is flag.ErrHelp when they ask for help.
func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{name: "once-example-" + rand.Text()[:8]}
	fs := flag.NewFlagSet("webhook", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&c.messages, "messages", 3000, "how many `events` to send")
	shares := map[string]*float64{"duplicates": &c.duplicates, "drop": &c.drop, "fail": &c.fail, "panic": &c.panics, "slow": &c.slow, "forged": &c.forged}
	fs.Float64Var(&c.duplicates, "duplicates", 0.3, "`share` of the events that are delivered twice")
	fs.Float64Var(&c.drop, "drop", 0.05, "`share` of the tries whose connection is dropped")
	fs.Float64Var(&c.fail, "fail", 0.05, "`share` of the handler's runs that fail")
	fs.Float64Var(&c.panics, "panic", 0.01, "`share` of the handler's runs that panic")
	fs.Float64Var(&c.slow, "slow", 0.005, "`share` of the events whose handler is slower than the sender waits")
	fs.Float64Var(&c.forged, "forged", 0.05, "`share` of the events of which a forged copy comes first")
	fs.IntVar(&c.workers, "workers", 16, "how many events are on their way at a time")
	fs.BoolVar(&c.json, "json", false, "print the summary as JSON on the last line of the standard output")
	fs.Uint64Var(&c.seed, "seed", 1, "what all chance is derived from")
	address := fs.String("redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	fs.BoolVar(&c.off, "off", false, "switch the deduplication off, to see what the proof says then")
	fs.BoolVar(&c.verbose, "v", false, "log what the library and the servers have to say")
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
	for name, share := range shares {
		check(*share >= 0 && *share <= 1, "-%s is %v, want 0 to 1", name, *share)
	}
	if *address != "" {
		var err error
		if c.redis, err = parseRedis(*address); err != nil {
			errs = append(errs, fmt.Errorf("-redis: %w", err))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		fmt.Fprintf(stderr, "webhook: %v\nwebhook: -h lists the flags\n", err)
	}
	return c, err
}

func parseRedis(address string) (*redis.Options, error) {
	if strings.Contains(address, "://") {
		return redis.ParseURL(address)
	}
	return &redis.Options{Addr: address}, nil
}
