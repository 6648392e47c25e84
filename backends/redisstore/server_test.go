package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

func do(t testing.TB, client *redis.Client, args ...any) {
	t.Helper()
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func claimed(t testing.TB, s *redisstore.Store, key claim.Key, req claim.Request) claim.Grant {
	t.Helper()
	v, err := s.TryClaim(t.Context(), key, req)
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("TryClaim: %v, error %v", v.Outcome, err)
	}
	return v.Grant
}

// onEachLayout runs a test on records of both layouts.
func onEachLayout(t *testing.T, run func(t *testing.T, packed *redisstore.PackedOptions)) {
	for name, packed := range map[string]*redisstore.PackedOptions{"plain": nil, "packed": {Retention: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, packed)
		})
	}
}

func TestScriptFlushIsNotNoticed(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		s := redistest.StartOwn(t)
		admin := s.Client()
		store := newStore(t, s.Client(), &redisstore.Options{Packed: packed, MaxBatch: 7})
		for kind := claim.OpTryClaim; kind <= claim.OpRevive; kind++ {
			op := prepared(t, store, kind)
			do(t, admin, "script", "flush")
			one(t.Context(), store, op)
			if op.Err != nil {
				t.Fatalf("%v after SCRIPT FLUSH: %v", kind, op.Err)
			}
		}
		do(t, admin, "script", "flush")
		if _, err := store.Get(t.Context(), newKey(t)); err != nil {
			t.Fatalf("Get after SCRIPT FLUSH: %v", err)
		}
		// And while flights of many calls are under way.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = admin.ScriptFlush(ctx).Err()
			}
		})
		for range 200 {
			var ops []*claim.Op
			for range 30 {
				ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
			}
			store.Apply(t.Context(), ops)
			for i, op := range ops {
				if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
					t.Fatalf("operation %d: %v, error %v", i, op.Verdict.Outcome, op.Err)
				}
			}
		}
		cancel()
		wg.Wait()
	})
}

// Without persistence a restart loses the claim. The work that was done under it
// is still recorded, and the loss is told.
func TestARestartWithoutPersistenceIsToldAsRecovered(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		s := redistest.StartOwn(t, "--appendonly", "no")
		store := newStore(t, s.Client(), &redisstore.Options{Packed: packed})
		key := newKey(t)
		g := claimed(t, store, key, newRequest())
		s.Restart()
		recovered, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour})
		if err != nil || !recovered {
			t.Fatalf("recovered %v, error %v; want true", recovered, err)
		}
		if v, err := store.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Done {
			t.Fatalf("%v, error %v; want Done", v.Outcome, err)
		}
	})
}

func TestAKilledServerThatSyncsAlwaysKeepsEveryRecord(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		s := redistest.StartOwn(t, "--appendonly", "yes", "--appendfsync", "always")
		store := newStore(t, s.Client(), &redisstore.Options{Packed: packed})
		pending, done := newKey(t), newKey(t)
		req := newRequest()
		g := claimed(t, store, pending, req)
		if _, err := store.MarkDone(t.Context(), done, claimed(t, store, done, newRequest()), claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		s.Restart()
		if v, err := store.TryClaim(t.Context(), pending, req); err != nil || v.Outcome != claim.Claimed || v.Grant != g {
			t.Fatalf("the claim repeated: %+v, error %v; want the same grant", v, err)
		}
		if v, err := store.TryClaim(t.Context(), done, newRequest()); err != nil || v.Outcome != claim.Done {
			t.Fatalf("%v, error %v; want Done", v.Outcome, err)
		}
	})
}

// A full server fails closed: it grants nothing. It still knows what is done, and
// what ends a claim is still recorded.
func TestAFullServerGrantsNothingAndLosesNothing(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		s := redistest.StartOwn(t, "--maxmemory-policy", "noeviction")
		admin := s.Client()
		store := newStore(t, s.Client(), &redisstore.Options{Packed: packed, MaxBatch: 4})
		done := newKey(t)
		if _, err := store.MarkDone(t.Context(), done, claimed(t, store, done, newRequest()), claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		full := func(yes bool) {
			limit := "0"
			if yes {
				limit = "1"
			}
			do(t, admin, "config", "set", "maxmemory", limit)
		}
		for _, batched := range []bool{false, true} {
			for kind := claim.OpTryClaim; kind <= claim.OpRevive; kind++ {
				op := prepared(t, store, kind)
				if kind == claim.OpMarkDone && packed == nil {
					op.Completion.Result = []byte("result")
				}
				full(true)
				ops := []*claim.Op{op}
				if batched {
					for range 3 {
						ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()},
							&claim.Op{Kind: claim.OpTryClaim, Key: done, Request: newRequest()})
					}
					store.Apply(t.Context(), ops)
				} else {
					one(t.Context(), store, op)
				}
				full(false)
				for _, other := range ops[1:] {
					if other.Key == done && (other.Err != nil || other.Verdict.Outcome != claim.Done) {
						t.Fatalf("beside %v: %v, error %v; want Done", kind, other.Verdict.Outcome, other.Err)
					}
					// Redis refuses the first write of a script alone, and to it the DEL of
					// Forget is one: it has just freed memory.
					if other.Key != done && kind != claim.OpForget && !redis.HasErrorPrefix(other.Err, "OOM") {
						t.Fatalf("beside %v: %v, error %v; want to be refused", kind, other.Verdict.Outcome, other.Err)
					}
				}
				if kind == claim.OpTryClaim || kind == claim.OpRevive {
					if !errors.Is(op.Err, claim.ErrUnavailable) || !redis.HasErrorPrefix(op.Err, "OOM") {
						t.Fatalf("%v on a full server: %v, error %v; want ErrUnavailable because of OOM", kind, op.Verdict.Outcome, op.Err)
					}
					continue
				}
				if op.Err != nil {
					t.Fatalf("%v on a full server: %v", kind, op.Err)
				}
			}
		}
	})
}

// Redis before 7 knows no allow-oom.
func TestAFullServerWithoutAllowOOMRefusesWhatEndsAClaim(t *testing.T) {
	redisstore.UseSettleScript(t, "#!no such thing")
	s := redistest.StartOwn(t, "--maxmemory-policy", "noeviction")
	store := newStore(t, s.Client(), &redisstore.Options{})
	op := prepared(t, store, claim.OpMarkDone)
	do(t, s.Client(), "config", "set", "maxmemory", "1")
	one(t.Context(), store, op)
	if !errors.Is(op.Err, claim.ErrUnavailable) || !redis.HasErrorPrefix(op.Err, "OOM") {
		t.Fatalf("error %v, want ErrUnavailable because of OOM", op.Err)
	}
}

func TestNewRefusesEveryEvictingPolicy(t *testing.T) {
	s := redistest.StartOwn(t, "--maxmemory-policy", "noeviction")
	client := s.Client()
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		do(t, client, "config", "set", "maxmemory-policy", policy)
		_, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet})
		if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), policy) || !strings.Contains(err.Error(), "AllowEviction") {
			t.Fatalf("%s: error %v, want one that names the policy and AllowEviction", policy, err)
		}
		var log strings.Builder
		o := &redisstore.Options{AllowEviction: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if _, err := redisstore.New(t.Context(), client, o); err != nil || !strings.Contains(log.String(), policy) {
			t.Fatalf("%s with AllowEviction: error %v, log %q", policy, err, log.String())
		}
	}
}

// A permission that is taken away fails closed, says so, and takes nothing with
// it that is still allowed.
func TestARevokedPermissionFailsClosed(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	admin := s.Client()
	o := s.Options()
	o.Username, o.Password = "once", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, &redisstore.Options{})
	done := newKey(t)
	if _, err := store.MarkDone(t.Context(), done, claimed(t, store, done, newRequest()), claim.Completion{Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule     string
		seesDone bool
	}{
		{"-set", true}, {"-pttl", false}, {"-get", true}, {"-time", false}, {"-evalsha", false}, {"resetkeys", false}, {"off", false},
	} {
		do(t, admin, "acl", "setuser", "once", c.rule)
		_, err := store.TryClaim(t.Context(), newKey(t), newRequest())
		if (c.rule == "-pttl" || c.rule == "-get") && err == nil {
			err = claim.ErrUnavailable // it is asked for what is there alone
		}
		if !errors.Is(err, claim.ErrUnavailable) {
			t.Fatalf("%s: error %v, want ErrUnavailable", c.rule, err)
		}
		if v, err := store.TryClaim(t.Context(), done, newRequest()); (err == nil && v.Outcome == claim.Done) != c.seesDone {
			t.Fatalf("%s: %v, error %v", c.rule, v.Outcome, err)
		}
		do(t, admin, "acl", "load")
	}
}

// What this version did not write is an error for the operation that meets it,
// never "absent", and for no other operation.
func TestAValueThatIsNoRecordIsCorrupt(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		s := redistest.Start(t)
		client := s.Client()
		store := newStore(t, client, &redisstore.Options{Packed: packed, Prefix: s.Prefix})
		header := "               8" + "               1" + "           60000" + "               7" + strings.Repeat("t", 16) + strings.Repeat("\x00", 16)
		for name, args := range map[string][]any{
			"a list":                         {"rpush", "a"},
			"a hash":                         {"hset", "a", "b"},
			"an empty string":                {"set", ""},
			"json":                           {"set", `{"state":"done"}`},
			"a newer version":                {"set", "Q" + header + "\x00\x01c\x01i"},
			"a negative number":              {"set", "-5"},
			"a number with a dot":            {"set", "1.5"},
			"a number without an end":        {"set", "17"},
			"a pending record cut":           {"set", "P" + header[:60]},
			"a fresh record cut":             {"set", "p" + header[:60]},
			"a fresh record of no numbers":   {"set", "p" + strings.Repeat("x", 120)},
			"a pending record of no numbers": {"set", "P" + strings.Repeat("x", 120)},
			"a dead record cut":              {"set", "X" + header + "             999" + "reason"},
			"a done record cut":              {"set", "D" + "               7"},
			"a done record of flags":         {"set", "D" + "               7" + strings.Repeat("\x00", 16) + "9"},
		} {
			t.Run(name, func(t *testing.T) {
				key, before, after := newKey(t), newKey(t), newKey(t)
				do(t, client, append([]any{args[0], nameOf(s.Prefix, key)}, args[1:]...)...)
				ops := []*claim.Op{
					{Kind: claim.OpTryClaim, Key: before, Request: newRequest()},
					{Kind: claim.OpTryClaim, Key: key, Request: newRequest()},
					{Kind: claim.OpTryClaim, Key: after, Request: newRequest()},
				}
				store.Apply(t.Context(), ops)
				for i, op := range ops {
					if i == 1 && !errors.Is(op.Err, claim.ErrCorrupt) {
						t.Errorf("%+v, error %v; want ErrCorrupt", op.Verdict, op.Err)
					}
					if i != 1 && op.Err != nil {
						t.Errorf("an operation beside it: %v", op.Err)
					}
				}
				if _, err := store.Get(t.Context(), key); !errors.Is(err, claim.ErrCorrupt) {
					t.Errorf("Get: error %v, want ErrCorrupt", err)
				}
				page, next, err := listAll(t.Context(), store)
				if !errors.Is(err, claim.ErrCorrupt) || !strings.Contains(err.Error(), key.Digest().String()) || len(page) < 2 || next != "" {
					t.Errorf("List: %d records, error %v; want the others, and ErrCorrupt with the digest", len(page), err)
				}
				if ttl := client.PTTL(t.Context(), nameOf(s.Prefix, key)).Val(); ttl > 0 {
					t.Errorf("the value was changed")
				}
				do(t, client, "del", nameOf(s.Prefix, key))
			})
		}
	})
}

// listAll lists everything, on past records that cannot be read.
func listAll(ctx context.Context, s *redisstore.Store) (all []claim.Entry, cursor string, corrupt error) {
	for {
		page, next, err := s.List(ctx, claim.Filter{}, cursor, 10)
		if err != nil {
			corrupt = err
		}
		all = append(all, page...)
		cursor = next
		if next == "" {
			return all, next, corrupt
		}
	}
}

// A server that was demoted refuses writes. go-redis must see it, or it would
// stay with that server.
func TestAReplicaGrantsNothing(t *testing.T) {
	onEachLayout(t, func(t *testing.T, packed *redisstore.PackedOptions) {
		primary, replica := redistest.StartReplica(t)
		key := newKey(t)
		store := newStore(t, primary.Client(), &redisstore.Options{Packed: packed})
		if _, err := store.MarkDone(t.Context(), key, claimed(t, store, key, newRequest()), claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		do(t, primary.Client(), "wait", 1, 5000)

		o := replica.Options()
		o.MaxRetries = -1
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		behind := newStore(t, client, &redisstore.Options{Packed: packed})
		stale := client.PoolStats().StaleConns
		_, err := behind.TryClaim(t.Context(), newKey(t), newRequest())
		if !errors.Is(err, claim.ErrUnavailable) || !redis.IsReadOnlyError(err) {
			t.Fatalf("error %v, want ErrUnavailable because of READONLY", err)
		}
		if client.PoolStats().TotalConns != 0 && client.PoolStats().StaleConns == stale {
			t.Errorf("go-redis kept the connection to the replica")
		}
		if v, err := behind.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Done {
			t.Fatalf("what is done: %v, error %v; want Done", v.Outcome, err)
		}
	})
}

// A done record was a number with the whole fence before there were stamps.
func TestADoneRecordWithItsFence(t *testing.T) {
	s := redistest.Start(t)
	prefix := fresh(s.Prefix)
	store := newStore(t, s.Client(), &redisstore.Options{Prefix: prefix})
	const fence = 1_767_323_045_000_000
	owner := claim.Grant{Token: claim.Token{1}, Fence: fence, Attempt: 1}
	other := claim.Grant{Token: claim.Token{2}, Fence: fence + 1, Attempt: 2}
	completion := claim.Completion{Retention: time.Hour}
	key := newKey(t)
	do(t, s.Client(), "set", nameOf(prefix, key), int64(fence), "px", 3_600_000)

	if v, err := store.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Done {
		t.Errorf("TryClaim: %v, error %v; want Done", v.Outcome, err)
	}
	if recovered, err := store.MarkDone(t.Context(), key, owner, completion); err != nil || recovered {
		t.Errorf("MarkDone by its owner: recovered %v, error %v", recovered, err)
	}
	if _, err := store.MarkDone(t.Context(), key, other, completion); !errors.Is(err, claim.ErrLost) {
		t.Errorf("MarkDone by another: error %v, want ErrLost", err)
	}
	entry, err := store.Get(t.Context(), key)
	if err != nil || entry.State != claim.StateDone || entry.Fence != fence {
		t.Fatalf("Get: %v with fence %d, error %v", entry.State, entry.Fence, err)
	}
	if err := store.Revive(t.Context(), key, entry.Record); err != nil {
		t.Errorf("Revive: %v", err)
	}
	if g := claimed(t, store, key, newRequest()); g.Fence <= fence {
		t.Errorf("fence %d after %d", g.Fence, uint64(fence))
	}
}

// The figure and what it is made of are in docs/redis.md. Debian's Redis is built
// with an allocator that rounds 24 bytes up to 32, twice for each key; with the
// one that Redis brings along an id takes some 16 bytes less.
func TestARememberedIDTakesAtMost116Bytes(t *testing.T) {
	s := redistest.StartOwn(t, "--maxmemory-policy", "noeviction")
	admin := s.Client()
	before := usedMemory(t, admin)
	client := redis.NewClient(s.Options())
	store := newStore(t, client, nil)
	// The tables of Redis are full then, as they are at every power of two.
	const n, batch = 1 << 17, 1 << 10
	storage, ops := make([]claim.Op, batch), make([]*claim.Op, batch)
	for range n / batch {
		for i := range ops {
			storage[i] = claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
			ops[i] = &storage[i]
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: time.Hour}
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if op.Err != nil {
				t.Fatal(op.Err)
			}
		}
	}
	_ = client.Close() // its buffers are none of the ids'
	name := nameOf("once:", ops[0].Key)
	if encoding := admin.ObjectEncoding(t.Context(), name).Val(); encoding != "int" {
		t.Errorf("a done record is stored as %s, want int", encoding)
	}
	each := float64(usedMemory(t, admin)-before) / n
	t.Logf("%.1f bytes for each of %d ids; MEMORY USAGE of one is %d", each, n, admin.MemoryUsage(t.Context(), name).Val())
	if each > 116 {
		t.Errorf("%.1f bytes for each remembered id, want at most 116", each)
	}
}

func usedMemory(t testing.TB, client *redis.Client) int {
	t.Helper()
	info, err := client.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(info, "\nused_memory:")
	line, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
