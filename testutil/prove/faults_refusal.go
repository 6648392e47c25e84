//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/nemesis"
)

// refusals are trials in which the store, or the library, says no.
func (s scale) refusals() []experiment {
	full := s.paced("F12", "out of memory", func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		err := w.Store.Do("config", "set", "maxmemory", "1")
		w.Disturb(func(context.Context) error {
			w.Pass(lease * 6 / 5)
			return errors.Join(err, w.Store.Do("config", "set", "maxmemory", "0"))
		})
		return nemesis.GoOn
	}, p0, p6).with(func(t *nemesis.Trial) {
		t.Worker.Plan.Early = true
		t.StoreArgs = []string{"--maxmemory-policy", "noeviction"}
	}).once().expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Workers.Down == 0 {
			say("no operation was refused")
		}
	})
	evicting := experiment{Trial: nemesis.Trial{Fault: "F12", Name: "evicting policies", Points: points(p0)}, check: refusesEviction}
	return []experiment{full, evicting, s.revoked(), s.corrupt(), s.hostile()}
}

// refusesEviction starts a server with every policy that evicts.
func refusesEviction(ctx context.Context, dir string) error {
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		server, err := nemesis.StartRedis(filepath.Join(dir, policy), nil, "--maxmemory-policy", policy)
		if err != nil {
			return err
		}
		client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
		_, err = redisstore.New(ctx, client, nil)
		_ = client.Close()
		server.Close()
		if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), policy) {
			return fmt.Errorf("a server with %s: error %v, want one that refuses and names it", policy, err)
		}
	}
	return nil
}

// revoked takes the workers' permission and their password away in turn.
func (s scale) revoked() experiment {
	var mu sync.Mutex
	var fastest float64 // refusals in a second
	password := false
	return s.paced("F19", "revoked", func(w *nemesis.World, _ nemesis.Hit) nemesis.Action {
		refused := func() int64 {
			return w.Store.Info("errorstats", "errorstat_NOPERM:count=") + w.Store.Info("errorstats", "errorstat_WRONGPASS:count=")
		}
		before := refused()
		var err error
		password = !password
		repair := []any{"acl", "setuser", "once", "+evalsha", "+eval"}
		if password {
			err = errors.Join(w.Store.Do("acl", "setuser", "once", "resetpass", ">another"), w.Store.Do("client", "kill", "user", "once"))
			repair = []any{"acl", "setuser", "once", "resetpass", ">secret"}
		} else {
			err = w.Store.Do("acl", "setuser", "once", "-evalsha", "-eval")
		}
		w.Disturb(func(context.Context) error {
			w.Pass(2 * lease)
			rate := float64(refused()-before) / (2 * lease).Seconds()
			mu.Lock()
			fastest = max(fastest, rate)
			mu.Unlock()
			return errors.Join(err, w.Store.Do(repair...))
		})
		return nemesis.GoOn
	}, p0, p4).with(func(t *nemesis.Trial) {
		t.Worker.User, t.Worker.Secret = "once", "secret"
		t.Before = func(w *nemesis.World) error {
			return w.Store.Do("acl", "setuser", "once", "on", ">secret", "resetkeys", "-@all", "~once:*",
				"+evalsha", "+eval", "+get", "+set", "+del", "+pttl", "+time", "+info")
		}
	}).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		// Three workers of eight handlers; each that kept on trying would ask a
		// hundred times in a second.
		if fastest > 500 {
			say("%.0f refused commands in a second: a storm", fastest)
		}
		if r.Workers.Dedupe.StoreDown == 0 {
			say("no message was retried for the store")
		}
	})
}

// foreign are values that no record of this version has.
var foreign = []struct {
	name    string
	command []any // the key comes second, the rest of the arguments after it
}{
	{"text", []any{"set", "somebody else's"}},
	{"newer", []any{"set", "Z9|a record of a later version"}},
	{"torn pending", []any{"set", "Pabc"}},
	{"torn done", []any{"set", "D123"}},
	{"list", []any{"rpush", "a"}},
	{"hash", []any{"hset", "a", "b"}},
}

// corrupt puts foreign values under the keys of orders before they come, and
// removes them after a while.
func (s scale) corrupt() experiment {
	var mu sync.Mutex
	removed := map[string]int64{}
	s.few = len(foreign)
	e := s.paced("F21", "foreign records", func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		name, err := nemesis.RecordKey("once:", h.Order)
		w.Disturb(func(context.Context) error {
			w.Pass(lease)
			mu.Lock()
			removed[h.Order] = time.Now().UnixNano()
			mu.Unlock()
			return errors.Join(err, w.Store.Do("del", name))
		})
		return nemesis.GoOn
	}, p0)
	e.Before = func(w *nemesis.World) error {
		next := 0
		for n := range w.Trial.Orders {
			if w.Trial.Worker.Plan.At(n) == "" {
				continue
			}
			f := foreign[next%len(foreign)]
			next++
			name, err := nemesis.RecordKey("once:", nemesis.OrderID(n))
			if err == nil {
				err = w.Store.Do(append([]any{f.command[0], name}, f.command[1:]...)...)
			}
			if err == nil { // its end is not what is wrong with it
				err = w.Store.Do("expire", name, 3600)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return nil
	}
	return e.struckOnce(p0).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		for _, h := range r.HitsAt(p0) {
			for _, at := range r.StartsOf(h.Order) {
				if gone := removed[h.Order]; gone > 0 && at < gone {
					say("%s ran while a foreign value was under its key", h.Order)
				}
			}
		}
		if r.Workers.Corrupt == 0 {
			say("no operation met a foreign value")
		}
	})
}

// hostile publishes ids that are too long, empty or strange, and lets orders
// keep results that are too large.
func (s scale) hostile() experiment {
	refused := []string{"", strings.Repeat("x", claim.MaxIDBytes+1)}
	strange := []string{"once:{a}", "*", "?[a-z]", "%s%d%n", "a b\tc", `"\"; DEL once:*`, "\x00\x01", "\xff\xfe", "ünï", strings.Repeat("y", claim.MaxIDBytes)}
	e := s.trial("F22", "hostile ids, large results", do(nemesis.GoOn), p5)
	e.Points = points(p0, p5)
	e.Worker.Result = claim.MaxResultBytes
	e.Before = func(w *nemesis.World) error {
		return w.Publish(append(append([]string{}, refused...), append(strange, strange...)...)...)
	}
	return e.once().struckOnce(p5).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Dead != len(refused) {
			say("%d dead letters, want %d", r.Dead, len(refused))
		}
		if want := r.Orders + len(strange); r.Effects != want {
			say("%d effects, want %d: one for each order and each strange id", r.Effects, want)
		}
	})
}

// messages are trials of copies.
func (s scale) messages() []experiment {
	storm := s.trial("F20", "five copies", nil).with(func(t *nemesis.Trial) {
		t.Points, t.Workers = points(p0), 4
		t.CopyEach, t.Copies, t.Orders = 1, 4, max(500, t.Orders/2)
	}).once().expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Effects != r.Orders || r.Runs != r.Orders {
			say("%d runs and %d effects of %d orders", r.Runs, r.Effects, r.Orders)
		}
	})
	s.few = 2
	old := s.paced("F23", "a copy after the retention", func(w *nemesis.World, h nemesis.Hit) nemesis.Action {
		w.Disturb(func(context.Context) error {
			w.Pass(lease * 7 / 2) // the retention, and what was left of the lease
			return w.Publish(h.Order)
		})
		return nemesis.GoOn
	}, p0).with(func(t *nemesis.Trial) {
		t.Worker.Retention, t.Unpersisted = 2*lease, true
	}).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		for _, h := range r.HitsAt(p0) {
			if n := r.EffectsOf(h.Order); n != 2 {
				say("%s came again after the retention and has %d effects, want 2", h.Order, n)
			}
		}
	})
	settings := experiment{Trial: nemesis.Trial{Fault: "F23", Name: "settings", Points: points(p0)}, check: refusesShortRetention}
	return []experiment{storm, old, settings}
}

// refusesShortRetention checks that New refuses a retention that is shorter than
// the bus may take.
func refusesShortRetention(ctx context.Context, dir string) error {
	server, err := nemesis.StartRedis(dir, nil)
	if err != nil {
		return err
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	store, err := redisstore.New(ctx, client, nil)
	if err != nil {
		return err
	}
	_, err = dedupe.New(store, &dedupe.Options{Consumer: "c", Retention: time.Hour, Redelivery: bus.Redelivery{Longest: 2 * time.Hour}})
	if err == nil || !strings.Contains(err.Error(), "Retention") {
		return fmt.Errorf("a retention of 1h with redeliveries for 2h: error %v, want one that names Retention", err)
	}
	return nil
}

// versions are trials with two versions of the library, while workers of both
// are killed.
func (s scale) versions() []experiment {
	return []experiment{s.trial("F24", "a later version beside this one", do(nemesis.Kill), every...).with(func(t *nemesis.Trial) {
		t.Workers, t.CopyEach, t.Copies = 4, 5, 2
		t.Worker.Mode = nemesis.ModeNewer
		t.Each = func(n int, w *nemesis.Worker) {
			if n%2 == 0 {
				w.Mode = nemesis.ModeOnce
			}
		}
	}).struckOnce(p6, p7, p8).expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
		if r.Workers.Corrupt == 0 {
			say("this version never met a record of the other")
		}
	})}
}

// negatives are consumers that are known to be wrong. That they are caught shows
// that the campaign can see.
func (s scale) negatives() []experiment {
	s.orders, s.hits = min(s.orders, 1000), 5
	wrong := func(fault, name string, mode nemesis.Mode, a nemesis.Action, p nemesis.Point, caught func(*nemesis.Result) bool) experiment {
		e := s.trial(fault, name, do(a), p).with(func(t *nemesis.Trial) { t.Worker.Mode = mode })
		e.control = true
		return e.expecting(func(_ *nemesis.World, r *nemesis.Result, say func(string, ...any)) {
			if !caught(r) {
				say("the negative control survived: %d lost, %d second executions", r.Lost, r.Doubled())
			}
		})
	}
	loses := func(r *nemesis.Result) bool { return r.Lost > 0 }
	doubles := func(r *nemesis.Result) bool { return r.Doubled() > 0 }
	return []experiment{
		wrong("F4", "SET NX, reply lost", nemesis.ModeSetNX, nemesis.Drop, p2, loses),
		wrong("F1", "SET NX, killed", nemesis.ModeSetNX, nemesis.Kill, p4, loses),
		wrong("F1", "no deduplication, killed", nemesis.ModeOff, nemesis.Kill, p5, doubles),
		wrong("F1", "record and effect in two transactions, killed", nemesis.ModeApart, nemesis.Kill, p5, doubles).with(func(t *nemesis.Trial) {
			t.Backend = inInbox
		}),
	}
}
