package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/examples/ledger"
)

// job is one run of the program.
type job struct {
	*config
	console   *console
	logger    *slog.Logger
	servers   *backing
	ledger    *ledger.Ledger
	consumer  jetstream.Consumer
	dead      jetstream.Stream
	processes []*process
	publisher *publisher
	rejected  atomic.Int64 // lines that are no order
}

func newJob(c *config) *job {
	j := &job{config: c, console: newConsole(c.Stderr), servers: &backing{}, ledger: ledger.New()}
	c.Stderr = j.console
	j.logger = c.Logger()
	return j
}

// run carries the job out, prints the summary and returns the exit status.
func (j *job) run(ctx context.Context, stdin io.Reader, stdout io.Writer) int {
	s, err := j.prove(ctx, stdin)
	j.console.end()
	if s == nil {
		return j.Abort(err)
	}
	return j.Finish(ctx, err, s, j.ledger, stdout)
}

// prove sets up, works, sums up and cleans up. It returns no summary when there
// was nothing to sum up.
func (j *job) prove(ctx context.Context, stdin io.Reader) (*summary, error) {
	defer j.servers.stop()
	defer j.close()
	if err := j.servers.start(j.config, j.logger); err != nil {
		return nil, err
	}
	if err := j.setUp(ctx); err != nil {
		return nil, err
	}
	orders, done, err := j.open(stdin)
	if err != nil {
		return nil, err
	}
	defer done()
	begun := time.Now()
	err = j.work(ctx, orders)
	return j.sumUp(time.Since(begun), err), err
}

// reject counts a line that is no order.
func (j *job) reject(line int, why error) {
	j.rejected.Add(1)
	j.Say("line %d rejected: %v", line, why)
}

// work publishes and charges until everything is settled, something fails, or ctx
// ends. When it returns, nothing of it runs any more.
func (j *job) work(ctx context.Context, orders source) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	consuming, stopConsuming := context.WithCancel(context.WithoutCancel(ctx))
	defer stopConsuming()
	var consumers sync.WaitGroup
	for _, p := range j.processes {
		consumers.Go(func() {
			if err := p.consume(consuming); err != nil {
				err = fmt.Errorf("process %d: %w", p.number, err)
				if ctx.Err() != nil { // too late to be why the job ended
					j.Say("%v", err)
				}
				stop(err)
			}
		})
	}
	published := make(chan struct{})
	go func() {
		defer close(published)
		if err := j.publisher.run(ctx, orders.stream(ctx, stop)); err != nil {
			stop(err)
		}
	}()
	err := j.watch(ctx, published)
	stop(err)
	<-published
	stopConsuming()
	consumers.Wait()
	j.close()
	return err
}

// close closes the Dedupers, if it has not done so. Their handlers have returned.
func (j *job) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, p := range j.processes {
		if err := p.deduper.Close(ctx); err != nil {
			j.Say("process %d: %v", p.number, err)
		}
	}
}
