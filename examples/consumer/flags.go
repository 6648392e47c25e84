package main

import (
	"flag"
	"io"
	"strings"
	"time"

	"github.com/oncebus/once/examples/drill"
)

// config is what the flags say, and what they leave open.
type config struct {
	drill.Flags
	in     string // "" for made-up orders
	idPath []string
	nats   string
	redis  string

	patience time.Duration // how long nothing may move
}

// parseFlags reads args. What is wrong with them has been printed to stderr when
// it returns an error; that is flag.ErrHelp when they ask for help.
func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{patience: time.Minute, Flags: drill.Flags{
		Messages: 10_000, Workers: 4, Trouble: drill.Trouble{
			Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Slow: 0.0005, Vanish: 0.005, SlowRun: slowRun,
		},
	}}
	fs := c.Define("consumer", stderr)
	fs.StringVar(&c.in, "in", "", "`file` with one order a line, in JSON; - is the standard input; -duplicates is then 0 unless given")
	id := fs.String("id", "id", "`field` of the line that is the order's id, as a dotted path; used with -in")
	fs.StringVar(&c.nats, "nats", "", "`URL` of a NATS server with JetStream, or several with commas; default is one inside this program")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server, or several with commas for a cluster; default is one inside this program")
	err := c.Parse(args, func(check drill.Check) {
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if c.in != "" && !given["duplicates"] {
			c.Duplicates = 0 // the lines bring their own
		}
		c.idPath = strings.Split(*id, ".")
		for _, name := range c.idPath {
			check(name != "", "-id is %q, want names with dots between them", *id)
		}
		check(c.in != "" || !given["in"], "-in is empty, want a file or -")
		check(c.in != "" || !given["id"], "-id says where a line has its id and needs -in")
		check(c.nats != "" || !given["nats"], "-nats is empty, want a URL")
		check(c.redis != "" || !given["redis"], "-redis is empty, want a URL or host:port")
	})
	return c, err
}
