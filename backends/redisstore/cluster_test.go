package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// The suite runs on a cluster in TestContractOnClusterUnderTheDocumentedACL;
// here is what a cluster alone has.
func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3)
	client := c.Client()

	t.Run("a batch across all nodes keeps the order on each key", func(t *testing.T) {
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:")})
		var ops []*claim.Op
		for range 50 {
			key, req := newKey(t), newRequest()
			release := &claim.Op{Kind: claim.OpRelease, Key: key, Grant: claim.Grant{Token: req.Token}}
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}, release,
				&claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for i, op := range ops {
			if op.Err != nil || op.Kind == claim.OpTryClaim && (op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1) {
				t.Fatalf("operation %d: %+v, error %v", i, op.Verdict, op.Err)
			}
		}
		onNodes := 0
		for _, node := range c.Nodes {
			if n := node.Client().DBSize(t.Context()).Val(); n > 0 {
				onNodes++
			}
		}
		if onNodes != len(c.Nodes) {
			t.Fatalf("records on %d of %d nodes", onNodes, len(c.Nodes))
		}
	})

	t.Run("a prefix with a hash tag keeps a batch in one call", func(t *testing.T) {
		store := newStore(t, client, &redisstore.Options{Prefix: "{" + fresh("once") + "}"})
		before := evalshas(t, c)
		var ops []*claim.Op
		for range 50 {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
				t.Fatalf("%v, error %v", op.Verdict.Outcome, op.Err)
			}
		}
		if n := evalshas(t, c) - before; n != 1 {
			t.Fatalf("%d script calls, want 1", n)
		}
		seen := 0
		for cursor := ""; ; {
			page, next, err := store.List(t.Context(), claim.Filter{}, cursor, 20)
			if err != nil {
				t.Fatal(err)
			}
			seen += len(page)
			if cursor = next; next == "" {
				break
			}
		}
		if seen < len(ops) {
			t.Fatalf("List found %d of %d", seen, len(ops))
		}
	})

	t.Run("SCRIPT FLUSH on every node is not noticed", func(t *testing.T) {
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:")})
		for _, size := range []int{1, 100} {
			for _, node := range c.Nodes {
				do(t, node.Client(), "script", "flush")
			}
			var ops []*claim.Op
			for range size {
				ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
			}
			store.Apply(t.Context(), ops)
			for _, op := range ops {
				if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
					t.Fatalf("%v, error %v", op.Verdict.Outcome, op.Err)
				}
			}
		}
	})

	t.Run("a node that hangs holds up its own keys alone", func(t *testing.T) {
		for name, edit := range map[string]func(*redis.ClusterOptions){
			"heeds deadlines": func(*redis.ClusterOptions) {},
			"heeds nothing":   func(o *redis.ClusterOptions) { o.ContextTimeoutEnabled = false; o.ReadTimeout = time.Second },
		} {
			t.Run(name, func(t *testing.T) {
				o := c.Options()
				edit(o)
				client := redis.NewClusterClient(o)
				t.Cleanup(func() { _ = client.Close() })
				store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:")})
				var ops []*claim.Op
				for range 60 {
					ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
				}
				store.Apply(t.Context(), ops) // connections
				c.Nodes[1].Stop()
				ctx, returned := within(t, 100*time.Millisecond)
				store.Apply(ctx, ops)
				returned()
				c.Nodes[1].Cont()
				unknown := 0
				for _, op := range ops {
					switch {
					case errors.Is(op.Err, claim.ErrUnknown):
						unknown++
					case op.Err != nil || op.Verdict.Outcome != claim.Claimed:
						t.Errorf("%v, error %v", op.Verdict.Outcome, op.Err)
					}
				}
				if unknown == 0 || name == "heeds deadlines" && unknown == len(ops) {
					t.Errorf("%d of %d unknown", unknown, len(ops))
				}
				store.Apply(t.Context(), ops)
				for _, op := range ops {
					if op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1 {
						t.Errorf("repeated: %+v, error %v", op.Verdict, op.Err)
					}
				}
			})
		}
	})

	t.Run("New checks the eviction policy of every node", func(t *testing.T) {
		do(t, c.Nodes[2].Client(), "config", "set", "maxmemory-policy", "allkeys-lru")
		defer do(t, c.Nodes[2].Client(), "config", "set", "maxmemory-policy", "noeviction")
		if _, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet}); !errors.Is(err, claim.ErrInvalid) {
			t.Fatalf("error %v, want ErrInvalid", err)
		}
	})

	t.Run("New warns of routing to replicas, and claims go to the masters", func(t *testing.T) {
		o := c.Options()
		o.ReadOnly = true
		client := redis.NewClusterClient(o)
		t.Cleanup(func() { _ = client.Close() })
		var log strings.Builder
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "unset ReadOnly") {
			t.Errorf("log %q, want one warning about ReadOnly", log.String())
		}
		claimed(t, store, newKey(t), newRequest())
	})

	t.Run("waiting for replicas that are not there", func(t *testing.T) {
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:"), WaitReplicas: 1, WaitTimeout: 5 * time.Millisecond})
		var ops []*claim.Op
		for range 20 {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
		}
		for _, node := range c.Nodes {
			do(t, node.Client(), "script", "flush")
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if !errors.Is(op.Err, claim.ErrUnknown) || !strings.Contains(op.Err.Error(), "0 of 1 replicas") {
				t.Fatalf("%v, error %v; want ErrUnknown", op.Verdict.Outcome, op.Err)
			}
		}
	})

	t.Run("a slot that moves", func(t *testing.T) {
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:")})
		key, req := newKey(t), newRequest()
		g := claimed(t, store, key, req)
		prefix := prefixOf(t, client, key)
		waiting := newStore(t, client, &redisstore.Options{Prefix: prefix, WaitReplicas: 1, WaitTimeout: time.Millisecond})
		moveSlot(t, c, client, nameOf(prefix, key))
		// A store that waits for replicas goes to the node itself, and says once
		// or twice that the slot is elsewhere.
		err := waiting.Extend(t.Context(), key, g, time.Minute)
		for moved := 0; errors.Is(err, claim.ErrUnavailable); moved++ {
			if moved > 1000 {
				t.Fatalf("the client does not learn that the slot moved: %v", err)
			}
			err = waiting.Extend(t.Context(), key, g, time.Minute)
		}
		if err != nil {
			t.Fatalf("after the move, waiting for replicas: %v", err)
		}
		if err := store.Extend(t.Context(), key, g, time.Minute); err != nil {
			t.Fatalf("after the move: %v", err)
		}
		ops := []*claim.Op{{Kind: claim.OpExtend, Key: key, Grant: g, TTL: time.Minute},
			{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: claim.Completion{Retention: time.Hour}}}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if op.Err != nil {
				t.Fatalf("%v after the move: %v", op.Kind, op.Err)
			}
		}
	})
}

// prefixOf returns the prefix of the one record that key has.
func prefixOf(t testing.TB, client *redis.ClusterClient, key claim.Key) (prefix string) {
	t.Helper()
	d := key.Digest()
	err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		for _, name := range node.Keys(ctx, "*").Val() {
			if found, ok := strings.CutSuffix(name, string(d[:])); ok {
				prefix = found
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return prefix
}

// moveSlot moves the slot of name, and its keys, to another node.
func moveSlot(t testing.TB, c *redistest.Cluster, client *redis.ClusterClient, name string) {
	t.Helper()
	ctx := t.Context()
	slot := client.ClusterKeySlot(ctx, name).Val()
	owner, err := client.MasterForKey(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	var from, to *redistest.Server
	for _, node := range c.Nodes {
		if node.Addr == owner.Options().Addr {
			from = node
		} else {
			to = node
		}
	}
	id := func(s *redistest.Server) string { return s.Client().Do(ctx, "cluster", "myid").Val().(string) }
	do(t, to.Client(), "cluster", "setslot", slot, "importing", id(from))
	do(t, from.Client(), "cluster", "setslot", slot, "migrating", id(to))
	host, port, _ := strings.Cut(to.Addr, ":")
	for _, key := range from.Client().ClusterGetKeysInSlot(ctx, int(slot), 100).Val() {
		do(t, from.Client(), "migrate", host, port, key, 0, 1000)
	}
	for _, node := range []*redistest.Server{to, from} {
		do(t, node.Client(), "cluster", "setslot", slot, "node", id(to))
	}
}

// evalshas returns how many script calls by digest the nodes have seen.
func evalshas(t testing.TB, c *redistest.Cluster) (calls int) {
	t.Helper()
	for _, node := range c.Nodes {
		info := node.Client().Info(t.Context(), "commandstats").Val()
		_, after, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
		n := 0
		for _, digit := range after {
			if digit < '0' || digit > '9' {
				break
			}
			n = 10*n + int(digit-'0')
		}
		calls += n
	}
	return calls
}
