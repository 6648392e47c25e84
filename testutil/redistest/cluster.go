package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of masters alone, in processes of their own.
type Cluster struct {
	// Nodes are the masters. Each has an equal part of the slots, in order.
	Nodes []*Server

	t testing.TB
}

// StartCluster starts a cluster of n masters, which must be 1 to 100, and
// returns when all of them call it ok: after about two seconds, which Redis
// takes before it lets a new cluster be written to. args go to every node. It
// ends with the test.
func StartCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for range n {
		c.Nodes = append(c.Nodes, StartOwn(t, append([]string{"--cluster-enabled", "yes"}, args...)...))
	}
	const slots = 16384
	for i, node := range c.Nodes {
		list := make([]any, 0, 2+slots/n+1)
		list = append(list, "cluster", "addslots")
		for slot := i * slots / n; slot < (i+1)*slots/n; slot++ {
			list = append(list, slot)
		}
		must(t, node.clock.Do(t.Context(), list...).Err())
		must(t, node.clock.Do(t.Context(), "cluster", "set-config-epoch", i+1).Err())
		if i > 0 {
			host, port, _ := net.SplitHostPort(node.Addr)
			must(t, c.Nodes[0].clock.ClusterMeet(t.Context(), host, port).Err())
		}
	}
	for _, node := range c.Nodes {
		await(t, "the cluster to be ok", func(ctx context.Context) (bool, error) {
			info, err := node.clock.ClusterInfo(ctx).Result()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(n)), err
		})
	}
	return c
}

// Options returns the options of a client of the cluster that honours deadlines.
// They are the caller's to change.
func (c *Cluster) Options() *redis.ClusterOptions {
	o := &redis.ClusterOptions{ContextTimeoutEnabled: true}
	for _, node := range c.Nodes {
		o.Addrs = append(o.Addrs, node.Addr)
	}
	return o
}

// Client returns a client of the cluster that is closed with the test.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(c.Options())
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Advance returns when the time of every node has moved by d.
func (c *Cluster) Advance(d time.Duration) {
	for _, node := range c.Nodes {
		node.Advance(d)
		d = 0 // they are on one machine
	}
}

// StartReplica starts a primary and a replica of it, and returns when the
// replica is up to date. Both end with the test.
func StartReplica(t testing.TB) (primary, replica *Server) {
	t.Helper()
	primary = StartOwn(t, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(primary.Addr)
	replica = StartOwn(t, "--replicaof", host+" "+port)
	await(t, "the replica to be online", func(ctx context.Context) (bool, error) {
		info, err := primary.clock.Info(ctx, "replication").Result()
		return strings.Contains(info, "state=online"), err
	})
	return primary, replica
}

// await returns when done reports true.
func await(t testing.TB, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		ok, err := done(ctx)
		switch {
		case err != nil:
			t.Fatalf("redistest: waiting for %s: %v", what, err)
		case ok:
			return
		case ctx.Err() != nil:
			t.Fatalf("redistest: waited in vain for %s", what)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
}
