package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

// config is what the flags say.
type config struct {
	drill.Flags
	drop   float64
	forged float64
	redis  string
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{Flags: drill.Flags{
		Messages: 3000, Workers: 16, Trouble: drill.Trouble{
			Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Slow: 0.005,
			SlowRun: slowRun, Work: 5 * time.Millisecond,
		},
	}}
	fs := c.Define("webhook", stderr)
	c.Share(&c.drop, "drop", 0.05, "`share` of the tries whose connection is dropped")
	c.Share(&c.forged, "forged", 0.05, "`share` of the events of which a forged copy comes first")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	return c, c.Parse(args, nil)
}

func newJob(c *config) *job { return &job{config: c, ledger: ledger.New(), logger: c.Logger()} }

// run carries the job out, prints the summary and returns the exit status.
func (j *job) run(ctx context.Context, stdout io.Writer) int {
	s, err := j.prove(ctx)
	if err != nil {
		return j.Abort(err)
	}
	return j.Finish(ctx, nil, s, j.ledger, stdout)
}

// prove sets up, works, sums up and cleans up.
func (j *job) prove(ctx context.Context) (s *summary, err error) {
	if j.store, err = servers.OpenRedis(j.redis, j.logger); err != nil {
		return nil, err
	}
	defer j.store.Close()
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var errs []error
		for _, r := range j.receivers {
			if err := r.stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("receiver %d: %w", r.number, err))
			}
		}
		return errors.Join(errs...)
	}
	if err := j.setUp(ctx); err != nil {
		_ = stop()
		return nil, err
	}
	j.sender = newSender(j)
	begun := time.Now()
	j.sender.run(ctx)
	elapsed := time.Since(begun)
	if err := stop(); err != nil { // after it, no handler runs
		return nil, err
	}
	return j.sumUp(elapsed, ctx.Err() != nil), nil
}

// logWriter takes what net/http logs.
type logWriter struct{ *slog.Logger }

func (l logWriter) Write(p []byte) (int, error) {
	l.Info(strings.TrimSpace(string(p)))
	return len(p), nil
}
