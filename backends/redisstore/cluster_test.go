package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// TestContract runs on a cluster too; here is what a cluster alone has.
func TestCluster(t *testing.T) {
	t.Parallel()
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

	t.Run("a node that hangs holds up no single call for another", func(t *testing.T) {
		client := c.Client()
		store := newStore(t, client, &redisstore.Options{Prefix: fresh("once:")})
		ctx, giveUp := context.WithTimeout(t.Context(), 30*time.Second)
		defer giveUp()
		c.Nodes[1].Stop()
		defer c.Nodes[1].Cont()
		var here, there sync.WaitGroup
		for range 200 {
			key := newKey(t)
			node, err := client.MasterForKey(ctx, nameOf(store.Prefix(), key))
			if err != nil {
				t.Fatal(err)
			}
			if node.Options().Addr == c.Nodes[1].Addr {
				there.Go(func() {
					if v, err := store.TryClaim(ctx, key, newRequest()); !errors.Is(err, claim.ErrUnknown) && !errors.Is(err, claim.ErrUnavailable) {
						t.Errorf("%v, error %v from a node that hangs", v.Outcome, err)
					}
				})
				continue
			}
			here.Go(func() {
				if v, err := store.TryClaim(ctx, key, newRequest()); err != nil || v.Outcome != claim.Claimed {
					t.Errorf("%v, error %v", v.Outcome, err)
				}
			})
		}
		here.Wait()
		giveUp()
		there.Wait()
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
		beginMove(t, c, client, nameOf(prefix, key)).finish()
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

	t.Run("claims while their slots move, to nodes without the script", func(t *testing.T) {
		prefix := fresh("once:")
		store := newStore(t, client, &redisstore.Options{Prefix: prefix})
		const n = 30
		keys, reqs, grants, moves := make([]claim.Key, n), make([]claim.Request, n), make([]claim.Grant, n), make([]*move, n)
		for i := range n {
			keys[i], reqs[i] = newKey(t), newRequest()
			// One node takes slots at a time, as when a cluster grows.
			for owner(t, client, nameOf(prefix, keys[i])) == c.Nodes[2].Addr {
				keys[i] = newKey(t)
			}
			if i%3 != 0 { // a third is not there yet, a third stays, a third goes ahead
				grants[i] = claimed(t, store, keys[i], reqs[i])
			}
			name := nameOf(prefix, keys[i])
			if moves[i] = beginMove(t, c, client, name); i%3 == 2 {
				moves[i].key(name)
			}
		}
		forget := func() {
			for _, node := range c.Nodes {
				do(t, node.Client(), "script", "flush")
			}
		}
		for i := range n {
			if i < 6 {
				forget()
			}
			g := claimed(t, store, keys[i], reqs[i])
			if i%3 != 0 && g != grants[i] || g.Attempt != 1 {
				t.Errorf("claimed again as %+v, was %+v", g, grants[i])
			}
			grants[i] = g
		}
		var ops []*claim.Op
		for i := range n {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: keys[i], Request: newRequest()},
				&claim.Op{Kind: claim.OpExtend, Key: keys[i], Grant: grants[i], TTL: time.Minute},
				&claim.Op{Kind: claim.OpMarkDone, Key: keys[i], Grant: grants[i], Completion: claim.Completion{Retention: time.Hour}},
				&claim.Op{Kind: claim.OpTryClaim, Key: keys[i], Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for i, op := range ops {
			want := []claim.Outcome{claim.Pending, 0, 0, claim.Done}[i%4]
			if op.Err != nil || op.Verdict.Outcome != want || op.Recovered {
				t.Errorf("operation %d on key %d: %v, recovered %v, error %v; want %v", i%4, i/4, op.Verdict.Outcome, op.Recovered, op.Err, want)
			}
		}
		for _, m := range moves {
			m.finish()
		}
		for _, key := range keys {
			if v, err := inTheEnd(t, store, key); err != nil || v.Outcome != claim.Done {
				t.Errorf("after the move: %v, error %v; want Done", v.Outcome, err)
			}
		}
	})

	t.Run("a batch in one slot whose keys are on two nodes is refused, and not carried out in part", func(t *testing.T) {
		prefix := "{" + fresh("once") + "}"
		store := newStore(t, client, &redisstore.Options{Prefix: prefix})
		here, there := newKey(t), newKey(t)
		claimed(t, store, here, newRequest())
		claimed(t, store, there, newRequest())
		m := beginMove(t, c, client, nameOf(prefix, here))
		m.key(nameOf(prefix, there))
		var ops []*claim.Op
		for _, key := range []claim.Key{here, there} {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if !errors.Is(op.Err, claim.ErrUnavailable) && !errors.Is(op.Err, claim.ErrUnknown) {
				t.Errorf("%v, error %v; want ErrUnavailable or ErrUnknown", op.Verdict.Outcome, op.Err)
			}
		}
		m.finish()
		for _, op := range ops {
			if v, err := inTheEnd(t, store, op.Key); err != nil || v.Outcome != claim.Pending {
				t.Errorf("after the move: %v, error %v; want Pending", v.Outcome, err)
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

// inTheEnd claims until the nodes agree whose the slot is: they tell each other
// of a move, and of several at a time they may send a client in circles.
func inTheEnd(t testing.TB, s *redisstore.Store, key claim.Key) (v claim.Verdict, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		v, err = s.TryClaim(ctx, key, newRequest())
		if !errors.Is(err, claim.ErrUnavailable) && !errors.Is(err, claim.ErrUnknown) || ctx.Err() != nil {
			return v, err
		}
	}
}

// owner returns the address of the node whose a key is.
func owner(t testing.TB, client *redis.ClusterClient, name string) string {
	t.Helper()
	node, err := client.MasterForKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return node.Options().Addr
}

// move is a slot on its way from one node to another.
type move struct {
	t        testing.TB
	nodes    []*redistest.Server
	slot     int64
	from, to *redistest.Server
}

// beginMove makes the slot of name one that migrates.
func beginMove(t testing.TB, c *redistest.Cluster, client *redis.ClusterClient, name string) *move {
	t.Helper()
	ctx := t.Context()
	at := owner(t, client, name)
	m := &move{t: t, nodes: c.Nodes, slot: client.ClusterKeySlot(ctx, name).Val()}
	for _, node := range c.Nodes {
		if node.Addr == at {
			m.from = node
		} else {
			m.to = node
		}
	}
	do(t, m.to.Client(), "cluster", "setslot", m.slot, "importing", m.id(m.from))
	do(t, m.from.Client(), "cluster", "setslot", m.slot, "migrating", m.id(m.to))
	return m
}

func (m *move) id(s *redistest.Server) string {
	return s.Client().Do(m.t.Context(), "cluster", "myid").Val().(string)
}

// key moves one key.
func (m *move) key(name string) {
	m.t.Helper()
	host, port, _ := strings.Cut(m.to.Addr, ":")
	do(m.t, m.from.Client(), "migrate", host, port, name, 0, 1000)
}

// finish moves the other keys and tells the nodes whose the slot is: the new
// owner first, or the slot would be nobody's, and all of them, since one that
// hears of several moves by gossip may give a slot back.
func (m *move) finish() {
	m.t.Helper()
	for _, name := range m.from.Client().ClusterGetKeysInSlot(m.t.Context(), int(m.slot), 100).Val() {
		m.key(name)
	}
	for _, node := range append([]*redistest.Server{m.to}, m.nodes...) {
		do(m.t, node.Client(), "cluster", "setslot", m.slot, "node", m.id(m.to))
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
