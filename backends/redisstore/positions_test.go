package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// placed returns a new key at a place.
func placed(t testing.TB, log string, sequence uint64) claim.Key {
	t.Helper()
	return newKey(t).At(claim.Place{Log: log, Sequence: sequence})
}

// chunks returns the names of the bitmaps under prefix.
func chunks(t testing.TB, client redis.UniversalClient, prefix string) (names []string) {
	t.Helper()
	for _, name := range client.Keys(t.Context(), "*").Val() {
		if strings.HasPrefix(name, prefix+"B") && len(name) == len(prefix)+25 {
			names = append(names, name)
		}
	}
	return names
}

func onePlace(t testing.TB, client redis.UniversalClient, prefix string) string {
	t.Helper()
	names := chunks(t, client, prefix)
	if len(names) != 1 {
		t.Fatalf("%d chunks, want one", len(names))
	}
	return names[0]
}

// A finished place is a bit and nothing else, and the bit has an end.
func TestABitIsAllThatIsLeft(t *testing.T) {
	layouts(t, func(t *testing.T, packed bool) {
		m := redistest.Mini(t)
		client := m.Client()
		store := newStore(t, client, positionsFor("once:", packed))
		for i := range uint64(100) {
			finish(t, store, placed(t, "log", i), time.Minute)
		}
		if names := client.Keys(t.Context(), "*").Val(); len(names) != 1 || names[0] != onePlace(t, client, "once:") {
			t.Errorf("%q are there, want one chunk", names)
		}
		m.Advance(time.Minute)
		if names := client.Keys(t.Context(), "*").Val(); len(names) != 0 {
			t.Errorf("%q are left", names)
		}
	})
}

// Whatever has more to keep is a record, as it is without places.
func TestWhatIsNoBit(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	store := newStore(t, client, positionsFor("once:", false))
	completion := claim.Completion{Retention: time.Hour}
	record := func(what string, key claim.Key) {
		t.Helper()
		if client.Exists(t.Context(), nameOf("once:", key)).Val() != 1 || len(chunks(t, client, "once:")) != 0 {
			t.Errorf("%s: no record of its own", what)
		}
		isDone(t, store, key)
	}
	for what, c := range map[string]claim.Completion{
		"a result":          {Retention: time.Hour, Result: []byte{}},
		"an omitted result": {Retention: time.Hour, Omitted: true},
	} {
		key := placed(t, "log", 1)
		if _, err := store.MarkDone(t.Context(), key, claimed(t, store, key, newRequest()), c); err != nil {
			t.Fatal(err)
		}
		record(what, key)
	}

	key, req := placed(t, "log", 1), newRequest()
	req.Fingerprint = claim.FingerprintOf([]byte("payload"))
	if _, err := store.MarkDone(t.Context(), key, claimed(t, store, key, req), completion); err != nil {
		t.Fatal(err)
	}
	record("a fingerprint", key)

	key = placed(t, "log", 1)
	if recovered, err := store.MarkDone(t.Context(), key, claim.Grant{Token: claim.NewToken(), Fence: 7}, completion); err != nil || !recovered {
		t.Fatalf("recovered %v, error %v", recovered, err)
	}
	record("a recovered completion", key)

	key = newKey(t)
	finish(t, store, key, time.Hour)
	record("no place", key)
}

// A position is remembered for as long as was asked for, whatever its neighbours
// ask for, and no longer than the last of them.
func TestAChunkLastsAsLongAsItsLast(t *testing.T) {
	m := redistest.Mini(t)
	client := m.Client()
	store := newStore(t, client, positionsFor("once:", false))
	first, long, last := placed(t, "log", 0), placed(t, "log", 1), placed(t, "log", 7999)
	ttl := func(want time.Duration) {
		t.Helper()
		if got := client.PTTL(t.Context(), onePlace(t, client, "once:")).Val(); got != want {
			t.Fatalf("the chunk has %v to live, want %v", got, want)
		}
	}
	finish(t, store, first, time.Minute)
	ttl(time.Minute)
	// While its lease holds, and for the retention of its claim, a key keeps the end
	// that the claim gave it.
	finish(t, store, long, time.Hour)
	ttl(time.Hour + time.Minute)
	m.Advance(2 * time.Minute)
	finish(t, store, last, time.Minute)
	ttl(59 * time.Minute)
	for _, key := range []claim.Key{first, long, last} {
		if v := outcome(t, store, key); v.Outcome != claim.Done || v.Remaining != 59*time.Minute {
			t.Errorf("%v with %v left, want done with 59 minutes", v.Outcome, v.Remaining)
		}
	}
	// The next chunk has an end of its own.
	finish(t, store, placed(t, "log", 8000), 2*time.Hour)
	m.Advance(59 * time.Minute)
	for _, key := range []claim.Key{first, long, last} {
		if v := outcome(t, store, key); v.Outcome != claim.Claimed {
			t.Errorf("after the retention: %v, want a claim", v.Outcome)
		}
	}
}

// A batch carries operations on many chunks, on keys without places, and on one
// key again and again.
func TestABatchOfManyPlaces(t *testing.T) {
	s := redistest.Start(t)
	layouts(t, func(t *testing.T, packed bool) {
		o := positionsFor(fresh(s.Prefix), packed)
		store := newStore(t, s.Client(), o)
		var keys []claim.Key
		for i := range uint64(600) {
			key := newKey(t)
			if i%5 > 0 {
				key = key.At(claim.Place{Log: fmt.Sprint("log ", i%7), Sequence: i / 7 * 1999})
			}
			keys = append(keys, key)
		}
		ops := claimMany(t, store, keys)
		for _, op := range ops {
			op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: time.Hour}
		}
		store.Apply(t.Context(), ops[:300])
		var again []*claim.Op
		for i, key := range keys {
			again = append(again, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()})
			if i >= 300 {
				again = append(again, ops[i], &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()})
			}
		}
		store.Apply(t.Context(), again)
		asked := map[claim.Key]int{}
		for i, op := range again {
			want := claim.Done
			if op.Kind == claim.OpMarkDone {
				want = 0
			} else if asked[op.Key]++; slices.Index(keys, op.Key) >= 300 && asked[op.Key] == 1 {
				want = claim.Pending
			}
			if op.Err != nil || op.Verdict.Outcome != want {
				t.Fatalf("operation %d, %v: %v, error %v; want %v", i, op.Kind, op.Verdict.Outcome, op.Err, want)
			}
		}
	})
}

// A bit cannot tell whose it is: what is done is done.
func TestAStaleOwnerOfADonePlaceIsToldThatItIsDone(t *testing.T) {
	m := redistest.Mini(t)
	store := newStore(t, m.Client(), positionsFor("", false))
	key := placed(t, "log", 42)
	stale := claimed(t, store, key, newRequest())
	m.Advance(2 * time.Minute)
	finish(t, store, key, time.Hour)
	for _, g := range []claim.Grant{stale, {Token: claim.NewToken(), Fence: 7}} {
		if recovered, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
			t.Errorf("recovered %v, error %v; want neither", recovered, err)
		}
	}
	if err := store.Extend(t.Context(), key, stale, time.Minute); !errors.Is(err, claim.ErrLost) {
		t.Errorf("Extend: error %v, want ErrLost", err)
	}
	entry, err := store.Get(t.Context(), key)
	if err != nil || entry.State != claim.StateDone || entry.Fence != 0 || entry.Expires.Sub(entry.Now) < time.Hour {
		t.Errorf("%v with fence %d, error %v; want done for an hour or longer, and no fence", entry.State, entry.Fence, err)
	}
	// Without its place the key is another one.
	if entry, err := store.Get(t.Context(), key.At(claim.Place{})); err != nil || entry.State != claim.StateAbsent {
		t.Errorf("%v, error %v; want absent", entry.State, err)
	}
}

// What is no chunk of this version is an error where it would be needed, never
// "absent", and stays as it is.
func TestAValueThatIsNoChunkIsCorrupt(t *testing.T) {
	s := redistest.Start(t)
	client := s.Client()
	for name, args := range map[string][]any{
		"a list":           {"rpush", "a"},
		"a hash":           {"hset", "a", "b"},
		"an empty string":  {"set", "", "px", 3600000},
		"a number":         {"set", "17", "px", 3600000},
		"another version":  {"set", "C" + strings.Repeat("\xff", 1000), "px", 3600000},
		"one that is long": {"set", "B" + strings.Repeat("\xff", 1001), "px", 3600000},
		"no end":           {"set", "B" + strings.Repeat("\xff", 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := fresh(s.Prefix)
			store := newStore(t, client, positionsFor(prefix, false))
			finish(t, store, placed(t, "log", 1), time.Hour)
			running := placed(t, "log", 2)
			g := claimed(t, store, running, newRequest())
			chunk := onePlace(t, client, prefix)
			do(t, client, "del", chunk)
			do(t, client, append([]any{args[0], chunk}, args[1:]...)...)
			value := client.Dump(t.Context(), chunk).Val()

			other, none := placed(t, "other log", 1), newKey(t)
			for _, key := range []claim.Key{placed(t, "log", 3), other, none} {
				v, err := store.TryClaim(t.Context(), key, newRequest())
				if key.Place().Log == "log" != errors.Is(err, claim.ErrCorrupt) || err == nil && v.Outcome != claim.Claimed {
					t.Errorf("%q: %v, error %v; want ErrCorrupt of the one log alone", key.Place().Log, v.Outcome, err)
				}
			}
			if _, err := store.MarkDone(t.Context(), running, g, claim.Completion{Retention: time.Hour}); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("MarkDone: error %v, want ErrCorrupt", err)
			}
			if err := store.Extend(t.Context(), running, g, time.Minute); err != nil {
				t.Errorf("Extend of what runs: %v", err)
			}
			gone := placed(t, "log", 4)
			if _, err := store.Get(t.Context(), gone); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("Get: error %v, want ErrCorrupt", err)
			}
			if err := store.Forget(t.Context(), gone, claim.Record{State: claim.StateDone}); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("Forget: error %v, want ErrCorrupt", err)
			}
			if client.Dump(t.Context(), chunk).Val() != value {
				t.Error("the value was changed")
			}
		})
	}
}

// From records to bits, and back, there is a time when both kinds of programs run.
// Each sees what the others have finished.
func TestPositionsChangeWithoutAGap(t *testing.T) {
	layouts(t, func(t *testing.T, packed bool) {
		m := redistest.Mini(t)
		open := func(positions *redisstore.PositionOptions) *redisstore.Store {
			o := positionsFor("", packed)
			o.Positions = positions
			return newStore(t, m.Client(), o)
		}
		off, preparing, on := open(nil), open(&redisstore.PositionOptions{Prepare: true}), open(&redisstore.PositionOptions{})
		var keys []claim.Key
		side := func(running ...*redisstore.Store) {
			t.Helper()
			for i := range 20 {
				key, req := placed(t, "log", uint64(len(keys))), newRequest()
				g := claimed(t, running[i%len(running)], key, req)
				other := running[(i+1)%len(running)]
				if v, err := other.TryClaim(t.Context(), key, req); err != nil || v.Grant != g {
					t.Fatalf("%+v, error %v", v, err)
				}
				for _, s := range append(running, other) {
					if recovered, err := s.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
						t.Fatalf("recovered %v, error %v", recovered, err)
					}
				}
				keys = append(keys, key)
				m.Advance(time.Second)
			}
			for _, key := range keys {
				for _, s := range running {
					isDone(t, s, key)
				}
			}
		}
		side(off, off)
		side(off, preparing)
		if len(chunks(t, m.Client(), "once:")) != 0 {
			t.Error("a bit was set in preparation")
		}
		side(preparing, on)
		side(on, on)
		side(on, preparing)
		// An operator may forget a bit meanwhile.
		entry, err := preparing.Get(t.Context(), keys[len(keys)-1])
		if err != nil || preparing.Forget(t.Context(), keys[len(keys)-1], entry.Record) != nil {
			t.Errorf("%v, error %v; want it forgotten", entry.State, err)
		}
		if v := outcome(t, on, keys[len(keys)-1]); v.Outcome != claim.Claimed {
			t.Errorf("%v of what was forgotten, want a claim", v.Outcome)
		}
		keys = keys[:len(keys)-1]
		side(preparing, preparing)
		// Once the last bit has ended, stores that know of none may come back.
		m.Advance(time.Hour)
		keys = nil
		side(preparing, off)
	})
}

// A record that was not deleted when its bit was set does not come back to life.
func TestABitWinsOverARecordThatWasNotDeleted(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	admin := s.Client()
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, positionsFor("once:", false))
	req := newRequest()
	req.TTL = unit
	sequence := uint64(0)
	left := func() (claim.Key, claim.Grant) {
		sequence++
		key := placed(t, "log", sequence)
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
	key, g := left()
	dead, deadGrant := left()
	forgotten, _ := left()
	revived, _ := left()
	if _, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil {
		t.Errorf("the completion repeated: %v", err)
	}
	if err := store.MarkDead(t.Context(), dead, deadGrant, "too late"); !errors.Is(err, claim.ErrLost) {
		t.Errorf("MarkDead of what is done: error %v, want ErrLost", err)
	}
	s.Advance(2 * unit)
	for _, key := range []claim.Key{key, dead} {
		isDone(t, store, key)
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
		do(t, admin, "acl", "setuser", "once-operator", "-setbit")
		if err := c.change(t.Context(), c.key, entry.Record); !errors.Is(err, claim.ErrUnavailable) {
			t.Errorf("without SETBIT: error %v, want ErrUnavailable", err)
		}
		isDone(t, store, c.key)
		do(t, admin, "acl", "setuser", "once-operator", "+setbit")
		if entry, err = store.Get(t.Context(), c.key); err != nil || entry.State != claim.StateDone {
			t.Fatalf("Get: %v, error %v; want done", entry.State, err)
		}
		if err := c.change(t.Context(), c.key, entry.Record); err != nil {
			t.Error(err)
		}
		if v := outcome(t, store, c.key); v.Outcome != claim.Claimed || v.Grant.Attempt != 1 {
			t.Errorf("%v at attempt %d, want the first attempt", v.Outcome, v.Grant.Attempt)
		}
	}
}

// A permission that is taken away fails closed: no bit is set, no chunk is left
// without an end, and the completion may be repeated.
func TestARevokedPermissionOfPositionsFailsClosed(t *testing.T) {
	s := redistest.StartOwn(t, "--aclfile", aclFile(t))
	admin := s.Client()
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	for _, rule := range []string{"-get", "-pttl", "-set", "-setbit", "-pexpire"} {
		for _, begun := range []bool{false, true} {
			if rule == "-set" && begun || (rule == "-pexpire" || rule == "-pttl") && !begun {
				continue // it is not needed
			}
			store := newStore(t, client, positionsFor(fresh("once:"), false))
			if begun {
				finish(t, store, placed(t, "log", 0), time.Minute)
			}
			key := placed(t, "log", 1)
			g := claimed(t, store, key, newRequest())
			do(t, admin, "acl", "setuser", "once-operator", rule)
			if _, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); !errors.Is(err, claim.ErrUnavailable) {
				t.Errorf("%s: error %v, want ErrUnavailable", rule, err)
			}
			do(t, admin, "acl", "load")
			for _, name := range chunks(t, admin, store.Prefix()) {
				if admin.PTTL(t.Context(), name).Val() <= 0 || admin.GetBit(t.Context(), name, 9).Val() != 0 {
					t.Errorf("%s: a chunk without an end, or a bit is left", rule)
				}
			}
			if v := outcome(t, store, key); v.Outcome != claim.Pending {
				t.Errorf("%s: %v, want pending", rule, v.Outcome)
			}
			if recovered, err := store.MarkDone(t.Context(), key, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
				t.Errorf("%s, repeated: recovered %v, error %v", rule, recovered, err)
			}
			isDone(t, store, key)
		}
	}
}

// A full server records what was done, in a chunk that is there and in one that is
// not, and grants nothing.
func TestAFullServerSetsBits(t *testing.T) {
	s := redistest.StartOwn(t, "--maxmemory-policy", "noeviction")
	admin := s.Client()
	store := newStore(t, s.Client(), positionsFor("", false))
	done := placed(t, "log", 0)
	finish(t, store, done, time.Minute)
	for _, log := range []string{"log", "another log"} {
		key := placed(t, log, 1)
		g := claimed(t, store, key, newRequest())
		do(t, admin, "config", "set", "maxmemory", "1")
		ops := []*claim.Op{
			{Kind: claim.OpTryClaim, Key: done, Request: newRequest()},
			{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: claim.Completion{Retention: time.Hour}},
			{Kind: claim.OpTryClaim, Key: placed(t, "log", 2), Request: newRequest()},
		}
		store.Apply(t.Context(), ops)
		do(t, admin, "config", "set", "maxmemory", "0")
		if ops[0].Err != nil || ops[0].Verdict.Outcome != claim.Done {
			t.Errorf("what is done is %v, error %v", ops[0].Verdict.Outcome, ops[0].Err)
		}
		if ops[1].Err != nil {
			t.Errorf("MarkDone: %v", ops[1].Err)
		}
		if !redis.HasErrorPrefix(ops[2].Err, "OOM") {
			t.Errorf("a claim: %v, error %v; want to be refused", ops[2].Verdict.Outcome, ops[2].Err)
		}
		isDone(t, store, key)
	}
}

// A client that routes by key needs a record and its bit in one slot.
func TestPositionsNeedOneSlot(t *testing.T) {
	m := redistest.Mini(t)
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": m.Addr()}})
	t.Cleanup(func() { _ = ring.Close() })
	_, err := redisstore.New(t.Context(), ring, positionsFor("once:", false))
	if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Options.Positions") || !strings.Contains(err.Error(), "{once}:") {
		t.Errorf("error %v, want ErrInvalid that names Options.Positions and the way out", err)
	}
	store := newStore(t, ring, positionsFor("{once}:", false))
	key := placed(t, "log", 1)
	finish(t, store, key, time.Hour)
	isDone(t, store, key)
}

// While a slot moves to another node, nothing is answered of what is half there.
func TestPositionsWhileTheirSlotMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	client := c.Client()
	o := c.Options()
	o.MaxRedirects = 1 // TRYAGAIN is tried again, and a move ends by itself in no time
	impatient := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = impatient.Close() })
	for first := range 2 {
		prefix := "{" + fresh("once:") + "}"
		store := newStore(t, impatient, positionsFor(prefix, false))
		done, pending, absent := placed(t, "log", 1), placed(t, "log", 2), placed(t, "log", 3)
		finish(t, store, done, time.Hour)
		g := claimed(t, store, pending, newRequest())
		var names []string
		eachName(t, client, prefix, func(name string) { names = append(names, name) })
		if len(names) != 2 {
			t.Fatalf("%d keys, want a chunk and a record", len(names))
		}
		slices.Sort(names)
		m := beginMove(t, c, client, names[0])
		for moved := range len(names) + 1 {
			if v, err := store.TryClaim(t.Context(), done, newRequest()); err == nil && v.Outcome != claim.Done ||
				err != nil && !errors.Is(err, claim.ErrUnavailable) && !errors.Is(err, claim.ErrUnknown) {
				t.Errorf("%d moved: what is done is %v, error %v", moved, v.Outcome, err)
			}
			if v, err := store.TryClaim(t.Context(), pending, newRequest()); err == nil && v.Outcome != claim.Pending {
				t.Errorf("%d moved: what is pending is %v", moved, v.Outcome)
			}
			if v, err := store.TryClaim(t.Context(), absent, newRequest()); err == nil && v.Outcome != claim.Claimed {
				t.Errorf("%d moved: what is absent is %v", moved, v.Outcome)
			}
			_ = store.Forget(t.Context(), absent, claim.Record{})
			if moved < len(names) {
				m.key(names[(moved+first)%len(names)])
			}
		}
		m.finish()
		if v, err := inTheEnd(t, store, done); err != nil || v.Outcome != claim.Done {
			t.Errorf("after the move: %v, error %v; want done", v.Outcome, err)
		}
		if recovered, err := store.MarkDone(t.Context(), pending, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
			t.Errorf("after the move: recovered %v, error %v", recovered, err)
		}
		isDone(t, store, pending)
	}
}

// Keys without places cost the server the same commands as in a store that heeds
// none.
func TestKeysWithoutPlacesCostNothingMore(t *testing.T) {
	s := redistest.StartOwn(t)
	client := s.Client()
	run := func(o *redisstore.Options) string {
		store := newStore(t, client, o).ByScript()
		do(t, client, "config", "resetstat")
		var keys []claim.Key
		for range 10 {
			finishMany(t, store, 50, time.Hour)
			keys = append(keys, newKey(t))
		}
		claimMany(t, store, keys)
		var calls []string
		for line := range strings.Lines(client.Info(t.Context(), "commandstats").Val()) {
			name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
			if n, _, _ := strings.Cut(rest, ","); ok && !strings.HasPrefix(name, "config") && name != "info" {
				calls = append(calls, name+"="+n)
			}
		}
		slices.Sort(calls)
		return strings.Join(calls, " ")
	}
	run(&redisstore.Options{Prefix: "warm:"})
	without, with := run(&redisstore.Options{Prefix: "a:"}), run(positionsFor("b:", false))
	if without != with {
		t.Errorf("with Positions %s\nwithout       %s", with, without)
	}
}

// Full chunks, of messages that were claimed and finished. The figure for a million
// is in docs/redis.md.
func TestAPositionTakesLessThanAByte(t *testing.T) {
	if testing.Short() {
		t.Skip("so many messages take some seconds")
	}
	each := bytesAPosition(t, 200_000)
	t.Logf("%.3f bytes a position", each)
	if each > 0.3 {
		t.Errorf("a position takes %.3f bytes, want at most 0.3", each)
	}
}

// bytesAPosition returns what each of n positions takes in a server that has been
// used before.
func bytesAPosition(t testing.TB, n uint64) float64 {
	t.Helper()
	const batch = 1000
	s := redistest.StartOwn(t)
	admin := s.Client()
	do(t, admin, "config", "set", "slowlog-log-slower-than", "-1") // it keeps arguments
	finishAll := func(log string, n uint64) int {
		client := redis.NewClient(s.Options())
		store := newStore(t, client, &redisstore.Options{MaxBatch: batch, Positions: &redisstore.PositionOptions{}})
		for from := uint64(0); from < n; from += batch {
			finishPlaces(t, store, log, from, batch)
		}
		_ = client.Close() // its buffers are none of the positions'
		return usedMemory(t, admin)
	}
	before := finishAll("warm", 8000)
	return float64(finishAll("log", n)-before) / float64(n)
}

// finishPlaces claims and finishes n neighbours in a batch.
func finishPlaces(t testing.TB, s *redisstore.Store, log string, from uint64, n int) {
	t.Helper()
	keys := make([]claim.Key, n)
	for i := range keys {
		keys[i] = placed(t, log, from+uint64(i))
	}
	ops := claimMany(t, s, keys)
	for _, op := range ops {
		if op.Verdict.Outcome != claim.Claimed {
			t.Fatalf("%v, want a claim", op.Verdict.Outcome)
		}
		op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: time.Hour}
	}
	s.Apply(t.Context(), ops)
	for _, op := range ops {
		if op.Err != nil {
			t.Fatal(op.Err)
		}
	}
}
