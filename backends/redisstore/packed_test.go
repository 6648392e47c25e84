package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// finish claims key and records it done for a retention.
func finish(t testing.TB, s *redisstore.Store, key claim.Key, retention time.Duration) claim.Grant {
	t.Helper()
	g := claimed(t, s, key, newRequest())
	if recovered, err := s.MarkDone(t.Context(), key, g, claim.Completion{Retention: retention}); err != nil || recovered {
		t.Fatalf("MarkDone: recovered %v, error %v", recovered, err)
	}
	return g
}

// outcome claims key and returns the answer.
func outcome(t testing.TB, s *redisstore.Store, key claim.Key) claim.Verdict {
	t.Helper()
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func isDone(t testing.TB, s *redisstore.Store, key claim.Key) {
	t.Helper()
	if v := outcome(t, s, key); v.Outcome != claim.Done {
		t.Fatalf("%v, want done", v.Outcome)
	}
}

// buckets returns the buckets of the packed layout and how many markers are in
// each.
func buckets(t testing.TB, client *redis.Client, prefix string) map[string]int {
	t.Helper()
	sizes := map[string]int{}
	for _, name := range client.Keys(t.Context(), "*").Val() {
		if strings.HasPrefix(name, prefix) && client.Type(t.Context(), name).Val() == "hash" {
			sizes[name] = int(client.HLen(t.Context(), name).Val())
		}
	}
	return sizes
}

// generations returns how many generations the layout record names.
func generations(t testing.TB, client *redis.Client, prefix string) int {
	t.Helper()
	return len(client.Get(t.Context(), prefix+"layout").Val()) / 64
}

// A finished id is a field in a hash and nothing else, and every key has an end.
func TestAMarkerIsAllThatIsLeft(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	store := newStore(t, client, packedFor("once:", time.Hour))
	key := newKey(t)
	finish(t, store, key, time.Hour)
	if n := client.Exists(t.Context(), nameOf("once:", key)).Val(); n != 0 {
		t.Error("the record is still there")
	}
	if sizes := buckets(t, client, "once:"); len(sizes) != 1 {
		t.Errorf("%d buckets, want one", len(sizes))
	}
	for _, name := range client.Keys(t.Context(), "*").Val() {
		if ttl := client.PTTL(t.Context(), name).Val(); ttl <= 0 || ttl > 4*time.Hour {
			t.Errorf("%q has %v to live", name, ttl)
		}
	}
	m.Advance(4 * time.Hour)
	if names := client.Keys(t.Context(), "*").Val(); len(names) != 0 {
		t.Errorf("%q are left", names)
	}
}

// What has more to keep, or has to be kept for longer, is a record as in the
// plain layout.
func TestWhatIsNotPacked(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	store := newStore(t, client, packedFor("once:", time.Hour))
	for name, c := range map[string]claim.Completion{
		"a result":           {Retention: time.Hour, Result: []byte{}},
		"an omitted result":  {Retention: time.Hour, Omitted: true},
		"a longer retention": {Retention: time.Hour + time.Microsecond},
	} {
		key := newKey(t)
		if _, err := store.MarkDone(t.Context(), key, claimed(t, store, key, newRequest()), c); err != nil {
			t.Fatal(err)
		}
		if n := client.Exists(t.Context(), nameOf("once:", key)).Val(); n != 1 {
			t.Errorf("%s: no record of its own", name)
		}
		isDone(t, store, key)
	}
	if sizes := buckets(t, client, "once:"); len(sizes) != 0 {
		t.Errorf("%d buckets, want none", len(sizes))
	}
}

// Ids are forgotten one by one, never early, in whatever generation they are, and
// late by no more than the grain of the layout.
func TestMarkersEndWhenTheyWereAskedTo(t *testing.T) {
	m := redistest.Mini(t)
	const retention = 24 * time.Hour
	grain := retention * 3 / 2 / 200_000
	store := newStore(t, m.Client(), packedFor("once:", retention))
	type finished struct {
		key claim.Key
		end time.Time
	}
	var all []finished
	for i := range 250 {
		key, kept := newKey(t), retention
		if i%3 > 0 {
			kept = retention * time.Duration(1+i%17) / 20
		}
		finish(t, store, key, kept)
		all = append(all, finished{key, m.Now().Add(kept)})
		m.Advance(retention/100 + time.Duration(i)*time.Microsecond)
		if i%20 > 0 {
			continue
		}
		for _, f := range all {
			left := f.end.Sub(m.Now())
			entry, err := store.Get(t.Context(), f.key)
			switch {
			case err != nil:
				t.Fatal(err)
			case left > 0 && entry.State != claim.StateDone:
				t.Fatalf("forgotten %v early", left)
			case left <= -grain && entry.State != claim.StateAbsent:
				t.Fatalf("remembered %v too long", -left)
			case left > 0:
				told := entry.Expires.Sub(entry.Now)
				if told > left || told < left-grain {
					t.Fatalf("%v are said to be left of %v", told, left)
				}
			}
		}
	}
}

// The generations do not pile up, whether there is something to do all the time
// or now and then.
func TestGenerationsGo(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	store := newStore(t, client, packedFor("once:", time.Hour))
	for i := range 300 {
		finish(t, store, newKey(t), time.Hour)
		if n := generations(t, client, "once:"); n < 1 || n > 3 {
			t.Fatalf("%d generations, want at most three", n)
		}
		m.Advance(time.Duration(1+i) * time.Minute / 4)
	}
}

// Whatever was expected, no bucket outgrows its encoding, no id is forgotten, and
// the generation after the first has buckets enough.
func TestAWrongGuessIsMadeGood(t *testing.T) {
	s := redistest.StartOwn(t)
	client := s.Client()
	o := packedFor("once:", time.Hour)
	o.Packed.ExpectedIDs = 1
	o.MaxBatch = 1000
	store := newStore(t, client, o)
	const ids = 40_000
	var keys []claim.Key
	for range ids / 1000 {
		keys = append(keys, finishMany(t, store, 1000, time.Hour)...)
	}
	if n := generations(t, client, "once:"); n < 2 || n > 4 {
		t.Errorf("%d generations, want a few", n)
	}
	sizes := buckets(t, client, "once:")
	for name, n := range sizes {
		if encoding := client.ObjectEncoding(t.Context(), name).Val(); n > 128 || encoding != "listpack" && encoding != "ziplist" {
			t.Fatalf("a bucket of %d in %s", n, encoding)
		}
	}
	for batch := range slices.Chunk(keys, 1000) {
		for _, op := range claimMany(t, store, batch) {
			if op.Verdict.Outcome != claim.Done {
				t.Fatalf("%v, want done", op.Verdict.Outcome)
			}
		}
	}
	t.Logf("%d ids in %d buckets of %d generations", ids, len(sizes), generations(t, client, "once:"))
}

// finishMany finishes n new keys in batches.
func finishMany(t testing.TB, s *redisstore.Store, n int, retention time.Duration) []claim.Key {
	t.Helper()
	keys := make([]claim.Key, n)
	for i := range keys {
		keys[i] = newKey(t)
	}
	ops := claimMany(t, s, keys)
	for _, op := range ops {
		op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: retention}
	}
	s.Apply(t.Context(), ops)
	for _, op := range ops {
		if op.Err != nil {
			t.Fatal(op.Err)
		}
	}
	return keys
}

func claimMany(t testing.TB, s *redisstore.Store, keys []claim.Key) []*claim.Op {
	t.Helper()
	ops := make([]*claim.Op, len(keys))
	for i, key := range keys {
		ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()}
	}
	s.Apply(t.Context(), ops)
	for _, op := range ops {
		if op.Err != nil {
			t.Fatal(op.Err)
		}
	}
	return ops
}

// A store that expects more, or has to remember for longer, gets it in the next
// generation, and nobody forgets anything.
func TestStoresOfSeveralMindsShareALayout(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	var stores []*redisstore.Store
	for i, retention := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		o := packedFor("once:", retention)
		o.Packed.ExpectedIDs = []int{1_000_000, 1, 100_000}[i]
		stores = append(stores, newStore(t, client, o))
	}
	type finished struct {
		key claim.Key
		end time.Time
	}
	var all []finished
	for i := range 400 {
		store := stores[i%len(stores)]
		retention := []time.Duration{time.Minute, time.Hour, 24 * time.Hour}[i%len(stores)]
		key := newKey(t)
		finish(t, store, key, retention)
		all = append(all, finished{key, m.Now().Add(retention)})
		m.Advance(time.Duration(i) * time.Second)
	}
	for _, f := range all {
		for _, store := range stores {
			entry, err := store.Get(t.Context(), f.key)
			if err != nil || f.end.After(m.Now()) && entry.State != claim.StateDone {
				t.Fatalf("%v of an id with %v left, error %v", entry.State, f.end.Sub(m.Now()), err)
			}
		}
	}
	if n := generations(t, client, "once:"); n > 12 {
		t.Errorf("%d generations", n)
	}
}

// From one layout to the other there is a time when both kinds of programs run.
// Each sees what the others have finished, in each direction.
func TestLayoutsChangeWithoutAGap(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	plain := newStore(t, client, &redisstore.Options{})
	o := packedFor("", time.Hour)
	packing := func() *redisstore.Store { return newStore(t, client, o) }
	prepared := *o
	prepared.Packed = &redisstore.PackedOptions{Retention: time.Hour, Prepare: true}
	preparing := func() *redisstore.Store { return newStore(t, client, &prepared) }

	var keys []claim.Key
	side := func(running ...*redisstore.Store) {
		t.Helper()
		for i := range 40 {
			// Claimed by one, finished by another that repeats the claim, asked by all.
			key, req := newKey(t), newRequest()
			g := claimed(t, running[i%len(running)], key, req)
			other := running[(i+1)%len(running)]
			if v, err := other.TryClaim(t.Context(), key, req); err != nil || v.Grant != g {
				t.Fatalf("%+v, error %v", v, err)
			}
			if _, err := other.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
			for _, s := range running {
				if recovered, err := s.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
					t.Fatalf("repeated: recovered %v, error %v", recovered, err)
				}
			}
			m.Advance(time.Second)
		}
		for _, key := range keys {
			for _, s := range running {
				isDone(t, s, key)
			}
		}
	}
	side(plain, preparing())
	side(preparing(), preparing())
	side(preparing(), packing())
	side(packing(), packing())

	// Who never heard of the packed layout must not start now.
	_, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet})
	if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Packed") {
		t.Errorf("a plain store beside packed records: error %v, want one that names Packed", err)
	}

	side(packing(), preparing())
	side(preparing(), preparing())
	// Once the last marker has ended, plain stores may come back.
	m.Advance(2 * time.Hour)
	keys = nil
	side(preparing(), newStore(t, client, &redisstore.Options{}))
}

// A marker decides, whatever became of the record beside it.
func TestAMarkerWinsOverARecordThatWasNotDeleted(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	admin := s.Client()
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, packedFor("once:", time.Hour))
	req := newRequest()
	req.TTL = unit
	left := func() (claim.Key, claim.Grant) {
		key := newKey(t)
		g := claimed(t, store, key, req)
		do(t, admin, "acl", "setuser", "once-operator", "-del")
		if _, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		do(t, admin, "acl", "setuser", "once-operator", "+del")
		if n := admin.Exists(t.Context(), nameOf("once:", key)).Val(); n != 1 {
			t.Fatal("the record was deleted, and this test is of no use")
		}
		return key, g
	}
	gone := func(key claim.Key) bool { return admin.Exists(t.Context(), nameOf("once:", key)).Val() == 0 }

	key, g := left()
	forgotten, _ := left()
	revived, _ := left()
	late, lateGrant := left()
	dead, deadGrant := left()
	released, releasedGrant := left()
	if _, err := store.MarkDone(t.Context(), late, lateGrant, claim.Completion{Retention: time.Hour}); err != nil {
		t.Errorf("the completion repeated: %v", err)
	}
	if err := store.MarkDead(t.Context(), dead, deadGrant, "too late"); !errors.Is(err, claim.ErrLost) {
		t.Errorf("MarkDead of what is done: error %v, want ErrLost", err)
	}
	_ = store.Release(t.Context(), released, releasedGrant, 0)
	s.Advance(2 * unit)
	for _, key := range []claim.Key{key, late, dead, released} {
		for _, takeover := range []claim.Takeover{claim.Rerun, claim.Park} {
			again := newRequest()
			again.Takeover = takeover
			if v, err := store.TryClaim(t.Context(), key, again); err != nil || v.Outcome != claim.Done {
				t.Errorf("after the lease: %v, error %v; want done", v.Outcome, err)
			}
		}
	}
	if err := store.Extend(t.Context(), key, g, time.Minute); !errors.Is(err, claim.ErrLost) {
		t.Errorf("Extend after the lease: error %v, want ErrLost", err)
	}
	for _, c := range []struct {
		key    claim.Key
		change func(context.Context, claim.Key, claim.Record) error
	}{{forgotten, store.Forget}, {revived, store.Revive}} {
		entry, err := store.Get(t.Context(), c.key)
		if err != nil || entry.State != claim.StateDone {
			t.Fatalf("Get: %v, error %v; want done", entry.State, err)
		}
		// What decides is refused: nothing has changed.
		do(t, admin, "acl", "setuser", "once-operator", "-hdel")
		if err := c.change(t.Context(), c.key, entry.Record); !errors.Is(err, claim.ErrUnavailable) {
			t.Errorf("without HDEL: error %v, want ErrUnavailable", err)
		}
		isDone(t, store, c.key)
		do(t, admin, "acl", "setuser", "once-operator", "+hdel")
		entry, err = store.Get(t.Context(), c.key)
		if err != nil || entry.State != claim.StateDone {
			t.Fatalf("Get: %v, error %v; want done", entry.State, err)
		}
		if err := c.change(t.Context(), c.key, entry.Record); err != nil {
			t.Error(err)
		}
		if v := outcome(t, store, c.key); v.Outcome != claim.Claimed || v.Grant.Attempt != 1 {
			t.Errorf("%v at attempt %d, want the first attempt", v.Outcome, v.Grant.Attempt)
		}
	}
	if gone(key) {
		t.Error("the record went by itself")
	}
}

// A permission that is taken away fails closed, and leaves no key without an end.
func TestARevokedPermissionOfThePackedLayoutFailsClosed(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	admin := s.Client()
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	for _, rule := range []string{"-hget", "-get"} {
		store := newStore(t, client, packedFor("once:", time.Hour))
		done := newKey(t)
		finish(t, store, done, time.Hour)
		do(t, admin, "acl", "setuser", "once-operator", rule)
		for _, key := range []claim.Key{done, newKey(t)} {
			if v, err := store.TryClaim(t.Context(), key, newRequest()); !errors.Is(err, claim.ErrUnavailable) {
				t.Errorf("%s: %v, error %v; want ErrUnavailable", rule, v.Outcome, err)
			}
		}
		do(t, admin, "acl", "load")
	}
	for i, rule := range []string{"-hset", "-pexpireat", "-set"} {
		prefix := fmt.Sprintf("once:%d:", i)
		store := newStore(t, client, packedFor(prefix, time.Hour))
		key := newKey(t)
		g := claimed(t, store, key, newRequest())
		do(t, admin, "acl", "setuser", "once-operator", rule)
		if _, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); !errors.Is(err, claim.ErrUnavailable) {
			t.Errorf("%s: error %v, want ErrUnavailable", rule, err)
		}
		if sizes := buckets(t, admin, prefix); len(sizes) != 0 {
			t.Errorf("%s: a bucket is left", rule)
		}
		if v := outcome(t, store, key); v.Outcome != claim.Pending {
			t.Errorf("%s: %v, want pending", rule, v.Outcome)
		}
		do(t, admin, "acl", "load")
		if recovered, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
			t.Errorf("%s, repeated: recovered %v, error %v", rule, recovered, err)
		}
		isDone(t, store, key)
	}
}

// What this version did not write is an error where it would be needed, never
// "absent".
func TestAPackedLayoutThatIsNotOursIsCorrupt(t *testing.T) {
	s := redistest.StartOwn(t)
	client := s.Client()
	cell := func(n int) string { return fmt.Sprintf("%16d", n) }
	now := int(client.Time(t.Context()).Val().UnixMicro())
	hour := int(time.Hour / time.Microsecond)
	for name, args := range map[string][]any{
		"a list":              {"rpush", "a"},
		"an empty string":     {"set", ""},
		"a newer version":     {"set", "M" + cell(now) + cell(hour) + cell(hour) + cell(1)},
		"no generation":       {"set", "L"},
		"a cut one":           {"set", "L" + cell(now) + cell(hour)},
		"no numbers":          {"set", "L" + strings.Repeat("x", 64)},
		"a hole":              {"set", "L" + cell(now) + cell(hour) + strings.Repeat(" ", 16) + cell(1)},
		"no bucket":           {"set", "L" + cell(now) + cell(hour) + cell(hour) + cell(0)},
		"too many buckets":    {"set", "L" + cell(now) + cell(hour) + cell(hour) + cell(65537)},
		"a number of two":     {"set", "L" + cell(now) + cell(hour) + "       1       1" + cell(1)},
		"an older one spoilt": {"set", "L" + cell(now) + cell(hour) + cell(hour) + cell(1) + strings.Repeat("0", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := fresh(s.Prefix)
			store := newStore(t, client, packedFor(prefix, time.Hour))
			pending := newKey(t)
			g := claimed(t, store, pending, newRequest())
			do(t, client, append([]any{args[0], prefix + "layout"}, args[1:]...)...)
			if v, err := store.TryClaim(t.Context(), newKey(t), newRequest()); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("TryClaim: %v, error %v; want ErrCorrupt", v.Outcome, err)
			}
			if _, err := store.MarkDone(t.Context(), pending, g, claim.Completion{Retention: time.Hour}); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("MarkDone: error %v, want ErrCorrupt", err)
			}
			if _, err := store.Get(t.Context(), newKey(t)); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("Get: error %v, want ErrCorrupt", err)
			}
			// What needs no marker goes on.
			if err := store.Extend(t.Context(), pending, g, time.Minute); err != nil {
				t.Errorf("Extend: %v", err)
			}
			if after := client.Type(t.Context(), prefix+"layout").Val(); after != "list" && after != "string" {
				t.Errorf("the layout record was changed")
			}
		})
	}
	spoil := map[string]func(bucket, field string){
		"a string for a bucket": func(bucket, _ string) { do(t, client, "del", bucket); do(t, client, "set", bucket, "x") },
		"a marker of text":      func(bucket, field string) { do(t, client, "hset", bucket, field, "done") },
		"a marker too long":     func(bucket, field string) { do(t, client, "hset", bucket, field, "12345678901") },
		"a marker of no stamp":  func(bucket, field string) { do(t, client, "hset", bucket, field, "990000999") },
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			prefix := fresh(s.Prefix)
			store := newStore(t, client, packedFor(prefix, time.Hour))
			key := newKey(t)
			finish(t, store, key, time.Hour)
			d := key.Digest()
			for bucket := range buckets(t, client, prefix) {
				spoil(bucket, string(d[1:]))
			}
			if v, err := store.TryClaim(t.Context(), key, newRequest()); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("TryClaim: %v, error %v; want ErrCorrupt", v.Outcome, err)
			}
			if _, err := store.Get(t.Context(), key); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("Get: error %v, want ErrCorrupt", err)
			}
			claimed(t, store, newKey(t), newRequest())
			page, _, err := listAll(t.Context(), store)
			if !errors.Is(err, claim.ErrCorrupt) || len(page) != 1 {
				t.Errorf("List: %d records, error %v; want the other, and ErrCorrupt", len(page), err)
			}
		})
	}
}

// A clock that is set back makes what is remembered last longer, not shorter.
func TestMarkersOutliveAClockThatIsSetBack(t *testing.T) {
	m := redistest.Mini(t)
	store := newStore(t, m.Client(), packedFor("", time.Hour))
	before := newKey(t)
	finish(t, store, before, time.Hour)
	m.Advance(-5 * time.Hour)
	after := newKey(t)
	finish(t, store, after, time.Hour)
	for range 6 {
		isDone(t, store, before)
		isDone(t, store, after)
		m.Advance(9 * time.Minute)
	}
}

func TestPackedOptionsAreChecked(t *testing.T) {
	m := redistest.Mini(t)
	for name, o := range map[string]redisstore.PackedOptions{
		"ExpectedIDs": {ExpectedIDs: -1},
		"Retention":   {Retention: claim.MaxRetention + 1},
	} {
		for _, o := range []redisstore.PackedOptions{o, {ExpectedIDs: -o.ExpectedIDs * 1_000_000_001, Retention: -o.Retention}} {
			_, err := redisstore.New(t.Context(), m.Client(), &redisstore.Options{Packed: &o})
			if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Packed."+name) {
				t.Errorf("%+v: error %v, want ErrInvalid that names Packed.%s", o, err, name)
			}
		}
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": m.Addr()}})
	t.Cleanup(func() { _ = ring.Close() })
	o := packedFor("a{b", time.Hour)
	if _, err := redisstore.New(t.Context(), ring, o); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Prefix") {
		t.Errorf("error %v, want ErrInvalid that names Prefix", err)
	}
}

func TestNewWarnsOfSmallHashes(t *testing.T) {
	s := redistest.StartOwn(t, "--hash-max-listpack-entries", "127")
	var log strings.Builder
	o := packedFor("", time.Hour)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	newStore(t, s.Client(), o)
	if !strings.Contains(log.String(), "hash-max-listpack-entries") {
		t.Errorf("log %q, want a warning", log.String())
	}
}
