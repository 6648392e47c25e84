package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/examples/ledger"
)

var errStalled = errors.New("nothing moves any more")

// quiet is how long the bus must have nothing before an order that the ledger
// does not know is given up for lost.
const quiet = 2 * ackWait

// watch returns when all is settled: everything was published, the consumer has
// nothing to deliver and waits for no acknowledgement, and the ledger knows of
// every order. It returns an error when nothing moves for the job's patience, and
// the cause when ctx ends.
func (j *job) watch(ctx context.Context, published <-chan struct{}) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last, moved := j.movement(), time.Now()
	var empty time.Time // since when the consumer has nothing
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		now := j.movement()
		j.console.progress(now)
		if now != last {
			last, moved = now, time.Now()
		}
		select {
		case <-published:
			held, err := j.held(ctx)
			switch {
			case err != nil || held > 0:
				empty = time.Time{}
			case now.left >= now.published && now.Open == 0:
				return nil
			case empty.IsZero():
				empty = time.Now()
			case time.Since(empty) > quiet:
				return nil
			}
		default:
			if now.left >= now.published {
				moved = time.Now() // it is the input that takes its time
			}
		}
		if time.Since(moved) > j.patience {
			return fmt.Errorf("%w: nothing for %v", errStalled, j.patience)
		}
	}
}

// held returns how many messages the consumer has not settled.
func (j *job) held(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := j.consumer.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for what is not settled: %w", err)
	}
	return int(info.NumPending) + info.NumAckPending, nil
}

// movement is what changes while the job goes on.
type movement struct {
	ledger.Balance
	published, left, caught int64
	rejected                int64
}

func (j *job) movement() movement {
	p := j.publisher
	return movement{j.ledger.Balance(), p.published.Load(), p.left.Load(), p.caught.Load(), j.rejected.Load()}
}
