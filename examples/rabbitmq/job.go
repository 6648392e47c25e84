package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
	"github.com/oncebus/once/examples/servers"
	"github.com/oncebus/once/testutil/amqptest"
)

// config is what the flags say.
type config struct {
	drill.Flags
	amqp, redis string
	cuts        int
}

func parseFlags(args []string, stderr io.Writer) (*config, error) {
	c := &config{Flags: drill.Flags{
		Messages: 5000, Workers: 16,
		Trouble: drill.Trouble{Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Vanish: 0.005, Work: 5 * time.Millisecond},
	}}
	fs := c.Define("rabbitmq", stderr)
	fs.StringVar(&c.amqp, "amqp", "", "`URL` of a RabbitMQ; default is one that this program starts")
	fs.StringVar(&c.redis, "redis", "", "`URL` or host:port of a Redis server; default is one inside this program")
	fs.IntVar(&c.cuts, "cuts", 4, "how many `times` a process loses its connection")
	return c, c.Parse(args, func(check drill.Check) {
		check(c.cuts >= 0, "-cuts is %d, want 0 or more", c.cuts)
	})
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return drill.Status(err)
	}
	j := &job{config: c, ledger: ledger.New(), logger: c.Logger(), url: c.amqp}
	if j.server, err = servers.OpenRedis(c.redis, j.logger); err != nil {
		return c.Abort(err)
	}
	defer j.server.Close()
	if j.url == "" {
		node, err := amqptest.Open()
		if errors.Is(err, amqptest.ErrNotInstalled) {
			err = errors.New("there is no rabbitmq-server: install it, or name a RabbitMQ with -amqp amqp://user:password@host:5672/")
		}
		if err != nil {
			return c.Abort(err)
		}
		defer node.Close()
		j.url = node.URL()
	}
	if j.rabbit, err = amqpbus.Dial(ctx, &amqpbus.ClientOptions{Name: j.Run, Logger: j.logger}, j.url); err != nil {
		return c.Abort(fmt.Errorf("-amqp: %w", err))
	}
	defer j.rabbit.Close()
	defer j.clean()
	if err := j.declare(); err != nil {
		return c.Abort(err)
	}
	begun := time.Now()
	err = j.work(ctx)
	if len(j.processes) == 0 { // nothing to sum up
		return c.Abort(err)
	}
	return j.Finish(ctx, err, j.sumUp(time.Since(begun), err), j.ledger, stdout)
}

// deadQueue is the name of the queue of dead letters.
func (j *job) deadQueue() string { return j.Run + "-dead" }

// queues are the names of those in which orders may be: none waits for a retry for
// four seconds.
func (j *job) queues() []string { return []string{j.Run, j.Run + "-retry.1s", j.Run + "-retry.2s"} }

// ask asks the server for something that only operators want to know or do.
func (j *job) ask(request func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(j.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return request(ch)
}

// declare makes the queues of orders and of dead letters.
func (j *job) declare() error {
	return j.ask(func(ch *amqp.Channel) error {
		for _, name := range []string{j.Run, j.deadQueue()} {
			if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
				return err
			}
		}
		return nil
	})
}

// clean leaves nothing of the run on a server that stays.
func (j *job) clean() {
	_ = j.ask(func(ch *amqp.Channel) error { // the run is over: nobody could do anything about it
		for _, name := range append(j.queues(), j.deadQueue()) {
			_, _ = ch.QueueDelete(name, false, false, false)
		}
		return nil
	})
}

// ready returns how many messages of a queue wait for a consumer.
func (j *job) ready(queue string) (n int, err error) {
	err = j.ask(func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n = q.Messages
		return err
	})
	return n, err
}

// held takes up to n messages that the queues still hold, and returns how many there
// were. What consumers gave back may come a moment later.
func (j *job) held(n int) (found int) {
	for begun := time.Now(); found < n && time.Since(begun) < 3*time.Second; {
		for _, queue := range j.queues() {
			_ = j.ask(func(ch *amqp.Channel) error { // a queue that is not there holds nothing
				for found < n {
					if _, ok, err := ch.Get(queue, true); err != nil || !ok {
						return err
					}
					found++
				}
				return nil
			})
		}
	}
	return found
}

// publish sends the orders, and some of them again behind the next hundred, as a
// publisher does that missed an answer. Now and then a process loses its connection.
func (j *job) publish(ctx context.Context) error {
	var again []amqp.Publishing
	batches := (j.Messages + 99) / 100
	cut := 0
	for i := 0; (i < batches || len(again) > 0) && ctx.Err() == nil; i++ {
		batch := again
		again = nil
		for n := i * 100; n < min(i*100+100, j.Messages); n++ {
			id := fmt.Sprintf("order-%06d", n+1)
			order := amqp.Publishing{MessageId: id, Body: fmt.Appendf(nil, `{"id":%q,"cents":%d}`, id, 100+n%9900)}
			batch = append(batch, order)
			j.ledger.Accept(id)
			if j.Trouble.Again(id) {
				again = append(again, order)
			}
		}
		// A batch that is given up half way would leave it open what is in the queue.
		if err := j.send(context.WithoutCancel(ctx), batch); err != nil {
			return err
		}
		for ; cut < j.cuts && (i+1)*(j.cuts+1) >= (cut+1)*batches; cut++ {
			j.processes[cut%2].cut()
		}
	}
	return nil
}

// send publishes messages side by side, each until it is confirmed.
func (j *job) send(ctx context.Context, batch []amqp.Publishing) error {
	var sent sync.WaitGroup
	errs := make([]error, len(batch))
	for i, m := range batch {
		sent.Go(func() {
			if errs[i] = j.rabbit.Publish(ctx, "", j.Run, m); errs[i] == nil {
				j.published.Add(1)
			}
		})
	}
	sent.Wait()
	return errors.Join(errs...)
}

// settled returns when all orders are charged or given up, and every message that was
// published has been acked for good. It returns an error when a process has ended, or
// when nothing moves any more.
func (j *job) settled(ctx context.Context, failed <-chan error) error {
	return drill.Settled(ctx, j.ledger, failed, func() (bool, error) {
		acked := int64(0)
		for _, p := range j.processes {
			s := p.stats()
			acked += s.Acked + s.Rejected
		}
		ready, err := j.ready(j.Run)
		return ready == 0 && acked >= j.published.Load() && j.ledger.Balance().Open == 0, err
	})
}
