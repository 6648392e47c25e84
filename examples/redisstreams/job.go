package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/examples/ledger"
)

// patience is how long nothing may move before the run is given up.
const patience = time.Minute

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	j := &job{config: c, ledger: ledger.New(), logger: slog.New(slog.DiscardHandler), trouble: trouble{config: c}}
	if c.verbose {
		j.logger = slog.New(slog.NewTextHandler(stderr, nil))
	}
	redis.SetLogger(redisLogger{j.logger})
	stop, err := j.connect()
	if err != nil {
		fmt.Fprintf(stderr, "redisstreams: %v\n", err)
		return 2
	}
	defer stop()
	begun := time.Now()
	err = j.work(ctx)
	interrupted := ctx.Err() != nil
	switch {
	case interrupted:
		fmt.Fprintln(stderr, "redisstreams: interrupted")
	case err != nil:
		fmt.Fprintf(stderr, "redisstreams: %v\n", err)
	}
	if len(j.processes) == 0 {
		return 2 // nothing to sum up
	}
	s := j.sumUp(time.Since(begun), err)
	s.print(j, stdout, stderr)
	switch {
	case s.Lost != 0 || s.DoubleEffects != 0:
		return 1
	case err != nil && !interrupted:
		return 2
	}
	return 0
}

type redisLogger struct{ *slog.Logger }

// Printf is called by go-redis.
func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.InfoContext(ctx, fmt.Sprintf(format, args...))
}

// connect finds the Redis that the flags name, or starts a small one.
func (j *job) connect() (stop func(), err error) {
	j.options = &redis.Options{Addr: j.redis}
	end := func() {}
	switch {
	case j.redis == "":
		mini, err := miniredis.Run()
		if err != nil {
			return nil, fmt.Errorf("embedded redis: %w", err)
		}
		// It makes a new Lua machine for every script call. In a heap as small as
		// this one, the collector would run a hundred times a second.
		debug.SetGCPercent(400)
		j.options.Addr, end = mini.Addr(), mini.Close
	case strings.Contains(j.redis, "://"):
		if j.options, err = redis.ParseURL(j.redis); err != nil {
			return nil, fmt.Errorf("-redis: %w", err)
		}
	}
	j.options.ContextTimeoutEnabled = true // otherwise no deadline ends a call in time
	j.client = redis.NewClient(j.options)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = j.client.Del(ctx, j.name, j.name+"-dead").Err() // the run is over: nobody could do anything about it
		_ = j.client.Close()
		end()
	}, nil
}

// publish adds the orders to the stream, and some of them again a hundred orders
// later, as a publisher does that missed an answer.
func (j *job) publish(ctx context.Context) error {
	publisher, err := redisbus.NewPublisher(j.client, j.name, nil)
	if err != nil {
		return err
	}
	var again []bus.Message
	for i := 0; (i < j.messages || len(again) > 0) && ctx.Err() == nil; i += 100 {
		batch := again
		again = nil
		for n := i; n < min(i+100, j.messages); n++ {
			id := fmt.Sprintf("order-%06d", n+1)
			order := bus.Message{ID: id, Data: fmt.Appendf(nil, `{"id":%q,"cents":%d}`, id, 100+n%9900)}
			batch = append(batch, order)
			j.ledger.Accept(id)
			if j.trouble.roll(id, "again", 0) < j.duplicates {
				again = append(again, order)
			}
		}
		// A batch that is given up half way would leave it open what is in the stream.
		if err := publisher.Publish(context.WithoutCancel(ctx), batch...); err != nil {
			return err
		}
		j.trouble.published.Add(int64(len(batch)))
	}
	return nil
}

var errStalled = errors.New("nothing moves any more")

// settled returns when the group has been given everything and has settled it. It
// returns an error when a process has ended, or when nothing moves any more.
func (j *job) settled(ctx context.Context, failed <-chan error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last, moved := ledger.Balance{}, time.Now()
	for {
		stream, group, err := j.look(ctx)
		if err != nil {
			return err
		}
		now := j.ledger.Balance()
		if now != last {
			last, moved = now, time.Now()
		}
		switch {
		case group.Pending == 0 && group.LastDeliveredID == stream.LastGeneratedID:
			return nil
		case time.Since(moved) > patience:
			return fmt.Errorf("%w: nothing for %v", errStalled, patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-failed:
			return err
		case <-ticker.C:
		}
	}
}

// look asks the server for the stream and its group.
func (j *job) look(ctx context.Context) (stream *redis.XInfoStream, group redis.XInfoGroup, err error) {
	if stream, err = j.client.XInfoStream(ctx, j.name).Result(); err != nil {
		return nil, group, err
	}
	groups, err := j.client.XInfoGroups(ctx, j.name).Result()
	if err != nil || len(groups) != 1 {
		return nil, group, fmt.Errorf("the stream has %d groups: %w", len(groups), err)
	}
	return stream, groups[0], nil
}

// held returns how many messages the group has not settled.
func (j *job) held(ctx context.Context) int {
	_, group, err := j.look(ctx)
	if err != nil {
		return 0
	}
	rest, err := j.client.XRange(ctx, j.name, "("+group.LastDeliveredID, "+").Result()
	if err != nil {
		return 0
	}
	return int(group.Pending) + len(rest)
}
