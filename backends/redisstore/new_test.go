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

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	client := redistest.Mini(t).Client()
	for option, o := range map[string]redisstore.Options{
		"Prefix":       {Prefix: strings.Repeat("x", 129)},
		"MaxBatch":     {MaxBatch: 1001},
		"WaitReplicas": {WaitReplicas: -1},
		"WaitTimeout":  {WaitTimeout: time.Microsecond},
	} {
		_, err := redisstore.New(t.Context(), client, &o)
		if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Options."+option+" ") {
			t.Errorf("%s: error %v, want ErrInvalid that names it", option, err)
		}
	}
	if _, err := redisstore.New(t.Context(), client, &redisstore.Options{MaxBatch: -1}); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("MaxBatch -1: error %v, want ErrInvalid", err)
	}
	if _, err := redisstore.New(t.Context(), nil, nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no client: error %v, want ErrInvalid", err)
	}
}

func TestNewTellsWhatItFinds(t *testing.T) {
	m := redistest.Mini(t)
	s := redistest.Start(t)
	for name, c := range map[string]struct {
		client redis.UniversalClient
		want   []string
	}{
		"nothing to tell": {redis.NewClient(s.Options()), nil},
		"no deadlines":    {redis.NewClient(&redis.Options{Addr: s.Addr}), []string{"ContextTimeoutEnabled"}},
		"no INFO":         {redis.NewClient(m.Options()), []string{"maxmemory-policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { _ = c.client.Close() })
			var log strings.Builder
			o := &redisstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			if _, err := redisstore.New(t.Context(), c.client, o); err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(log.String(), "\n"); lines != len(c.want) {
				t.Errorf("%d warnings, want %d:\n%s", lines, len(c.want), log.String())
			}
			for _, want := range c.want {
				if !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "level=WARN") {
					t.Errorf("no warning about %s in:\n%s", want, log.String())
				}
			}
		})
	}
}

func TestNewReturnsInTime(t *testing.T) {
	s := redistest.StartOwn(t)
	client := redis.NewClient(&redis.Options{Addr: s.Addr, ReadTimeout: 2 * time.Second, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	s.Stop()
	defer s.Cont()
	ctx, returned := within(t, 50*time.Millisecond)
	_, err := redisstore.New(ctx, client, &redisstore.Options{Logger: quiet})
	returned()
	if !errors.Is(err, claim.ErrUnavailable) {
		t.Fatalf("error %v, want ErrUnavailable", err)
	}
}

// A server that speaks Redis and runs no scripts is found by New, not by the
// first message.
func TestNewFindsThatScriptsAreForbidden(t *testing.T) {
	s := redistest.StartOwn(t)
	admin := s.Client()
	do(t, admin, "acl", "setuser", "nobody", "on", "nopass", "+@all", "-eval", "~*")
	defer do(t, admin, "acl", "deluser", "nobody")
	o := s.Options()
	o.Username, o.Password = "nobody", "any"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	_, err := redisstore.New(t.Context(), client, nil)
	if !errors.Is(err, claim.ErrUnavailable) || !strings.Contains(err.Error(), "NOPERM") {
		t.Fatalf("error %v, want ErrUnavailable because of NOPERM", err)
	}
}

func TestRing(t *testing.T) {
	a, b := redistest.StartOwn(t), redistest.StartOwn(t)
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": a.Addr, "b": b.Addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = ring.Close() })
	store := newStore(t, ring, &redisstore.Options{Prefix: fresh("once:")})
	var ops []*claim.Op
	for range 40 {
		ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
	}
	do(t, a.Client(), "script", "flush")
	store.Apply(t.Context(), ops)
	for _, op := range ops {
		if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
			t.Fatalf("%v, error %v", op.Verdict.Outcome, op.Err)
		}
	}
	all, _, err := listAll(t.Context(), store)
	if err != nil || len(all) != len(ops) {
		t.Fatalf("List: %d records, error %v; want %d", len(all), err, len(ops))
	}
}

// wrapped is a client of a type that redisstore does not know.
type wrapped struct{ redis.UniversalClient }

func TestAClientOfAnUnknownType(t *testing.T) {
	s := redistest.Start(t)
	store := newStore(t, wrapped{s.Client()}, &redisstore.Options{Prefix: s.Prefix})
	do(t, s.Client(), "script", "flush")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ops := []*claim.Op{
		{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()},
		{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()},
	}
	store.Apply(ctx, ops)
	for _, op := range ops {
		if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
			t.Fatalf("%v, error %v", op.Verdict.Outcome, op.Err)
		}
	}
	if all, _, err := listAll(ctx, store); err != nil || len(all) != 2 {
		t.Fatalf("List: %d records, error %v; want 2", len(all), err)
	}
}

// SCAN takes a pattern, and a prefix is none.
func TestAPrefixOfGlobCharacters(t *testing.T) {
	s := redistest.Start(t)
	for _, prefix := range []string{"a*b:", "a?b:", "a[bc]:", `a\b:`, "a^-b]:", "{tag}:", "\x00\xff\r\n:"} {
		prefix = s.Prefix + prefix
		store := newStore(t, s.Client(), &redisstore.Options{Prefix: prefix})
		key := newKey(t)
		claimed(t, store, key, newRequest())
		do(t, s.Client(), "set", prefix+"another program's key", "value")
		all, _, err := listAll(t.Context(), store)
		if err != nil || len(all) != 1 || all[0].Key != key {
			t.Errorf("%q: %d records, error %v; want one", prefix, len(all), err)
		}
	}
}

func TestListRefusesACursorThatIsNotItsOwn(t *testing.T) {
	store := newStore(t, redistest.Mini(t).Client(), nil)
	for _, cursor := range []string{"x", "@", "-1@", "0@10.0.0.1:6379"} {
		if _, _, err := store.List(t.Context(), claim.Filter{}, cursor, 10); !errors.Is(err, claim.ErrInvalid) {
			t.Errorf("%q: error %v, want ErrInvalid", cursor, err)
		}
	}
	if _, _, err := store.List(t.Context(), claim.Filter{}, "", 0); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("limit 0: error %v, want ErrInvalid", err)
	}
}

// An operator may type any number. No record has one that Lua cannot count.
func TestAFenceBeyondADoubleIsNobodys(t *testing.T) {
	store := newStore(t, redistest.Mini(t).Client(), nil)
	key := newKey(t)
	for _, fence := range []uint64{claim.MaxFence + 1, 1<<64 - 1} {
		if err := store.Forget(t.Context(), key, claim.Record{State: claim.StatePending, Fence: fence}); err != nil {
			t.Errorf("Forget of an absent key: %v", err)
		}
	}
	claimed(t, store, key, newRequest())
	for _, fence := range []uint64{claim.MaxFence + 1, 1<<64 - 1} {
		if err := store.Forget(t.Context(), key, claim.Record{State: claim.StatePending, Fence: fence}); !errors.Is(err, claim.ErrLost) {
			t.Errorf("Forget: error %v, want ErrLost", err)
		}
		if err := store.Revive(t.Context(), key, claim.Record{State: claim.StatePending, Fence: fence}); !errors.Is(err, claim.ErrLost) {
			t.Errorf("Revive: error %v, want ErrLost", err)
		}
	}
}
