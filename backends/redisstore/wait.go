package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// execAndWait sends the commands of f and a WAIT behind them, on the same
// connection: WAIT asks for what the connection's last command saw of the
// replication stream. That a command wrote nothing does not matter, so a claim
// that is repeated waits for the grant that it repeats.
func (s *Store) execAndWait(ctx context.Context, f *flight) error {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return s.sendAndWait(ctx, s.client, f.calls)
	}
	// WAIT has no key for the cluster client to route it by.
	nodes := make(map[*redis.Client][]*call)
	for _, c := range f.calls {
		if c.landed {
			continue
		}
		node, err := cluster.MasterForKey(ctx, c.key)
		if err != nil {
			c.cmd.SetErr(err)
			continue
		}
		nodes[node] = append(nodes[node], c)
	}
	var wg sync.WaitGroup
	for node, calls := range nodes {
		wg.Go(func() { _ = s.sendAndWait(ctx, node, calls) })
	}
	wg.Wait()
	for _, c := range f.calls {
		// Nobody else tells the cluster client that a slot is elsewhere now.
		if err := c.cmd.Err(); err != nil && !lacksScript(err) {
			cluster.ReloadState(ctx)
			break
		}
	}
	return errNoAnswer
}

// sendAndWait sends the calls that have not landed to one server.
func (s *Store) sendAndWait(ctx context.Context, client redis.UniversalClient, calls []*call) error {
	wait := redis.NewIntCmd(ctx, "wait", s.waitReplicas, s.waitTimeout.Milliseconds())
	cmds := make([]redis.Cmder, 0, len(calls)+1)
	for _, c := range calls {
		if !c.landed {
			c.wait = wait
			cmds = append(cmds, c.cmd)
		}
	}
	return pipelined(ctx, client, append(cmds, wait))
}

// errNoAnswer stands for what kept a command from being sent when go-redis left
// it without an error.
var errNoAnswer = errors.New("redisstore: not sent")

// checkReplicas makes answers unknown that say "it is so" while too few
// replicas know.
func (c *call) checkReplicas() {
	if c.wait == nil {
		return
	}
	want := c.wait.Args()[1].(int)
	have, err := c.wait.Result()
	if err == nil && have >= int64(want) {
		return
	}
	if err == nil {
		err = fmt.Errorf("redisstore: %d of %d replicas have it", have, want)
	} else {
		err = fmt.Errorf("redisstore: WAIT: %w", plain(err))
	}
	for _, op := range c.ops {
		if op.Err == nil && mustLast(op) {
			op.Fail(claim.Unknown(err))
		}
	}
}

// mustLast reports whether op's answer lets the caller do what cannot be undone:
// run the handler, or settle the message.
func mustLast(op *claim.Op) bool {
	switch op.Kind {
	case claim.OpTryClaim:
		return op.Verdict.Outcome == claim.Claimed
	case claim.OpMarkDone, claim.OpMarkDead:
		return true
	}
	return false
}
