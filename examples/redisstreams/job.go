package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
)

// config is what the flags say.
type config struct {
	drill.Flags
	redis string
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{Flags: drill.Flags{
		Messages: 5000, Workers: 8,
		Trouble: drill.Trouble{Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Vanish: 0.005},
	}}
	fs := c.Define("redisstreams", stderr)
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	return c, c.Parse(args, nil)
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return drill.Status(err)
	}
	j := &job{config: c, ledger: ledger.New(), logger: c.Logger()}
	if j.server, err = servers.OpenRedis(c.redis, j.logger); err != nil {
		return c.Abort(err)
	}
	defer j.server.Close()
	j.client = j.server.Connect(ctx)
	defer j.clean()
	begun := time.Now()
	err = j.work(ctx)
	if len(j.processes) == 0 { // nothing to sum up
		return c.Abort(err)
	}
	return j.Finish(ctx, err, j.sumUp(time.Since(begun), err), j.ledger, stdout)
}

// clean leaves nothing of the run on a server that stays.
func (j *job) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = j.client.Del(ctx, j.Run, j.Run+"-dead").Err() // the run is over: nobody could do anything about it
	_ = j.client.Close()
}

// publish adds the orders to the stream, and some of them again a hundred orders
// later, as a publisher does that missed an answer.
func (j *job) publish(ctx context.Context) error {
	publisher, err := redisbus.NewPublisher(j.client, j.Run, nil)
	if err != nil {
		return err
	}
	var again []bus.Message
	for i := 0; (i < j.Messages || len(again) > 0) && ctx.Err() == nil; i += 100 {
		batch := again
		again = nil
		for n := i; n < min(i+100, j.Messages); n++ {
			id := fmt.Sprintf("order-%06d", n+1)
			order := bus.Message{ID: id, Data: fmt.Appendf(nil, `{"id":%q,"cents":%d}`, id, 100+n%9900)}
			batch = append(batch, order)
			j.ledger.Accept(id)
			if j.Trouble.Again(id) {
				again = append(again, order)
			}
		}
		// A batch that is given up half way would leave it open what is in the stream.
		if err := publisher.Publish(context.WithoutCancel(ctx), batch...); err != nil {
			return err
		}
		j.published += int64(len(batch))
	}
	return nil
}

// settled returns when the group has been given everything and has settled it. It
// returns an error when a process has ended, or when nothing moves any more.
func (j *job) settled(ctx context.Context, failed <-chan error) error {
	return drill.Settled(ctx, j.ledger, failed, func() (bool, error) {
		stream, group, err := j.look(ctx)
		return err == nil && group.Pending == 0 && group.LastDeliveredID == stream.LastGeneratedID, err
	})
}

// look asks the server for the stream and its group.
func (j *job) look(ctx context.Context) (stream *redis.XInfoStream, group redis.XInfoGroup, err error) {
	if stream, err = j.client.XInfoStream(ctx, j.Run).Result(); err != nil {
		return nil, group, err
	}
	groups, err := j.client.XInfoGroups(ctx, j.Run).Result()
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
	rest, err := j.client.XRange(ctx, j.Run, "("+group.LastDeliveredID, "+").Result()
	if err != nil {
		return 0
	}
	return int(group.Pending) + len(rest)
}
