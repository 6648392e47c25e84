package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/examples/drill"
	"github.com/oncebus/once/examples/ledger"
)

const (
	patience = time.Minute // for how long nothing may move before the run is given up
	window   = 512         // how many deliveries may be on their way
)

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &drill.Flags{
		Messages: 5000, Trouble: drill.Trouble{Duplicates: 0.3, Fail: 0.05, Panic: 0.01, Vanish: 0.005},
	}
	c.Define("watermill", stderr)
	if err := c.Parse(args, nil); err != nil {
		return drill.Status(err)
	}
	store, err := memstore.New(nil)
	if err != nil {
		return c.Abort(err)
	}
	j := &job{Flags: c, ledger: ledger.New(), logger: c.Logger(), store: store, onTheWay: make(chan struct{}, window)}
	j.pubsub = gochannel.NewGoChannel(gochannel.Config{}, watermill.NewSlogLogger(j.logger))
	begun := time.Now()
	err = j.work(ctx)
	return j.Finish(ctx, err, j.sumUp(time.Since(begun)), j.ledger, stdout)
}

// publish sends the orders, and some of them again up to a hundred orders later, as a
// publisher does that missed an answer. It returns when all are acked.
func (j *job) publish(ctx context.Context) error {
	var again []string
	for n := 0; n < j.Messages && ctx.Err() == nil; n++ {
		id := fmt.Sprintf("order-%06d", n+1)
		j.ledger.Accept(id)
		if j.Trouble.Again(id) {
			again = append(again, id)
		}
		batch := []string{id}
		if n%100 == 99 || n == j.Messages-1 {
			batch, again = append(batch, again...), nil
		}
		for _, id := range batch {
			if err := j.send(id); err != nil {
				return err
			}
		}
	}
	return j.begin(cap(j.onTheWay)) // when there is room for all, none is left
}

// send publishes one message to both routers.
func (j *job) send(id string) error {
	if err := j.begin(2); err != nil {
		return err
	}
	j.published++
	return j.pubsub.Publish("orders", message.NewMessage(id, []byte(id)))
}

// begin waits until n deliveries more may be on their way.
func (j *job) begin(n int) error {
	stalled := time.NewTimer(patience)
	defer stalled.Stop()
	for range n {
		select {
		case j.onTheWay <- struct{}{}:
			stalled.Reset(patience)
		case <-stalled.C:
			return fmt.Errorf("nothing moves any more: nothing for %v", patience)
		}
	}
	return nil
}

// counted is the outermost middleware: it sees what the router is about to ack.
func (j *job) counted(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := h(msg)
		if err == nil {
			<-j.onTheWay
		}
		return produced, err
	}
}
