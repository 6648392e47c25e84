package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/claim"
)

// bus is where a relay publishes.
type bus struct {
	mu      sync.Mutex
	all     []sqlstore.Message // guarded by mu
	refuse  func(m sqlstore.Message) bool
	arrived chan struct{}
}

func newBus() *bus { return &bus{arrived: make(chan struct{}, 1)} }

func (b *bus) publish(_ context.Context, m sqlstore.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		select {
		case b.arrived <- struct{}{}:
		default:
		}
	}()
	if b.refuse != nil && b.refuse(m) {
		return errors.New("refused")
	}
	b.all = append(b.all, m)
	return nil
}

func (b *bus) list() []sqlstore.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// await returns when the bus has n messages.
func (b *bus) await(t testing.TB, n int) []sqlstore.Message {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for len(b.list()) < n {
		select {
		case <-b.arrived:
		case <-deadline:
			t.Fatalf("%d messages after half a minute, want %d", len(b.list()), n)
		}
	}
	return b.list()
}

// relay runs a relay until stop is called.
func relay(t testing.TB, store *sqlstore.Store, b *bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- store.Relay(ctx, b.publish, &sqlstore.RelayOptions{Every: 5 * time.Millisecond, Batch: 7, Logger: quiet})
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Relay: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestOutboxFollowsTheTransaction(t *testing.T) {
	eachInbox(t, nil, func(t *testing.T, b *inbox) {
		b1 := newBus()
		key := newKey(t)
		work := func(err error) func(context.Context, doing) error {
			return func(ctx context.Context, do doing) error {
				for _, name := range []string{"a", "b"} {
					m := sqlstore.Message{Subject: "orders", Name: name, Header: map[string][]string{"h": {"1", "2"}}, Data: []byte{0, 0xff, 'x'}}
					if err := sqlstore.Publish(ctx, m); err != nil {
						return err
					}
				}
				return err
			}
		}
		failure := errors.New("failure")
		if _, err := b.run(t.Context(), key, claim.Fingerprint{}, work(failure)); !errors.Is(err, failure) {
			t.Fatal(err)
		}
		if v, err := b.run(t.Context(), key, claim.Fingerprint{}, work(nil)); err != nil || v.Outcome != claim.Claimed {
			t.Fatal(v, err)
		}
		stop := relay(t, b.store, b1)
		got := b1.await(t, 2)
		stop()
		if len(got) != 2 || got[0].ID == got[1].ID || len(got[0].ID) != 32 {
			t.Fatalf("%d messages, want two with ids of their own: %+v", len(got), got)
		}
		if m := got[0]; m.Subject != "orders" || string(m.Data) != "\x00\xffx" || fmt.Sprint(m.Header) != "map[h:[1 2]]" {
			t.Fatalf("got %+v", m)
		}
		if err := sqlstore.Publish(t.Context(), sqlstore.Message{Subject: "x"}); !errors.Is(err, claim.ErrInvalid) {
			t.Errorf("outside of a work: error %v, want ErrInvalid", err)
		}
	})
}

// Several processes write for a few keys, and what a relay publishes for each key
// is in the order of the commits, with one that is refused now and then and
// relays that come and go.
func TestOutboxKeepsOrder(t *testing.T) {
	eachInbox(t, &sqlstore.InboxOptions{MaxRetries: 200}, func(t *testing.T, b *inbox) {
		const keys, workers, each = 3, 4, 12
		exec(t, b.db, "CREATE TABLE counter (id integer PRIMARY KEY, n integer NOT NULL)")
		for k := range keys {
			exec(t, b.db, fmt.Sprintf("INSERT INTO counter VALUES (%d, 0)", k))
		}
		exec(t, b.db, "CREATE TABLE history (id integer NOT NULL, n integer NOT NULL, message varchar(64) NOT NULL)")
		hub := newBus()
		tries := map[string]int{}
		hub.refuse = func(m sqlstore.Message) bool {
			tries[m.ID]++
			return tries[m.ID] == 1 && len(tries)%5 == 0
		}
		stop := relay(t, b.store, hub)
		relay(t, b.store, hub)
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for n := range each {
					k := n % keys
					key := newKey(t)
					deliver(t, b, key, func(ctx context.Context, do doing) error {
						if err := sqlstore.Publish(ctx, sqlstore.Message{ID: string(key.ID()), Subject: "s", Key: fmt.Sprint("key ", k)}); err != nil {
							return err
						}
						if err := do(fmt.Sprintf("UPDATE counter SET n = n + 1 WHERE id = %d", k)); err != nil {
							return err
						}
						return do(fmt.Sprintf("INSERT INTO history SELECT id, n, '%s' FROM counter WHERE id = %d", key.ID(), k))
					})
				}
			})
		}
		wg.Wait()
		hub.await(t, workers*each/2)
		stop()
		all := hub.await(t, workers*each)
		seen := map[string]bool{}
		for _, m := range all {
			if seen[m.ID] {
				t.Errorf("a message was published twice, and no relay died")
			}
			seen[m.ID] = true
		}
		for k := range keys {
			var want, got []string
			rows, err := b.db.Query(fmt.Sprintf("SELECT message FROM history WHERE id = %d ORDER BY n", k))
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var id string
				if err := rows.Scan(&id); err != nil {
					t.Fatal(err)
				}
				want = append(want, id)
			}
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if m.Key == fmt.Sprint("key ", k) {
					got = append(got, m.ID)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("key %d: published %v, committed %v", k, got, want)
			}
		}
		if len(seen) != workers*each {
			t.Errorf("%d messages, want %d", len(seen), workers*each)
		}
	})
}

// A transaction that commits after later ones is not passed over, and one with the
// same key waits for it.
func TestOutboxLateCommit(t *testing.T) {
	for _, d := range databases {
		if d.dialect == sqlstore.SQLite {
			continue // one writer at a time
		}
		t.Run(d.name, func(t *testing.T) {
			db := d.open(t)
			store := d.storeWith(t, db, nil)
			hub := newBus()
			relay(t, store, hub)
			early, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			publish := func(id, key string) error {
				tx, err := db.Begin()
				if err != nil {
					return err
				}
				return errors.Join(store.Publish(t.Context(), sqlstore.OfTx(tx), sqlstore.Message{ID: id, Subject: "s", Key: key}), tx.Commit())
			}
			if err := store.Publish(t.Context(), sqlstore.OfTx(early), sqlstore.Message{ID: "1", Subject: "s", Key: "a"}); err != nil {
				t.Fatal(err)
			}
			if err := publish("2", "b"); err != nil {
				t.Fatal(err)
			}
			hub.await(t, 1)
			waiting := make(chan error)
			go func() { waiting <- publish("3", "a") }()
			if err := publish("4", "b"); err != nil {
				t.Fatal(err)
			}
			hub.await(t, 2)
			if err := early.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-waiting; err != nil {
				t.Fatal(err)
			}
			var order []string
			for _, m := range hub.await(t, 4) {
				order = append(order, m.ID)
			}
			if got := fmt.Sprint(order); got != "[2 4 1 3]" {
				t.Errorf("published %v, want [2 4 1 3]", got)
			}
		})
	}
}

func TestCleaner(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := d.open(t)
		store := d.store(t, db)
		advance := stopped(t, db, store)
		var ops []*claim.Op
		for n := range 30 {
			req := newRequest()
			if n >= 25 {
				req.Retention = 3 * time.Hour
			}
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: req})
		}
		store.Apply(t.Context(), ops)
		if n, err := store.Clean(t.Context(), 10); err != nil || n != 0 {
			t.Fatalf("nothing is over: %d deleted, error %v", n, err)
		}
		advance(2 * time.Hour)
		if n, err := store.Clean(t.Context(), 10); err != nil || n != 10 {
			t.Fatalf("%d deleted, error %v; want 10", n, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- store.RunCleaner(ctx, &sqlstore.CleanerOptions{Every: time.Millisecond, Batch: 4, Pause: time.Millisecond, Logger: quiet})
		}()
		for left := 30; left > 5; {
			page, _, err := store.List(t.Context(), claim.Filter{Namespace: "test"}, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.QueryRow("SELECT count(*) FROM " + sqlstore.Claims(store) + " WHERE namespace = " + literal(d, "test")).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if len(page) != 5 {
				t.Fatalf("%d records are left, want the 5 that are not over", len(page))
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func literal(d database, s string) string {
	if d.dialect == sqlstore.Postgres {
		return fmt.Sprintf(`'\x%x'::bytea`, s)
	}
	return fmt.Sprintf("x'%x'", s)
}
