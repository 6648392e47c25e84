package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/backends/sqlstore/pgxstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/sqltest"
)

// doing runs a statement in the transaction of a work.
type doing func(query string) error

// inbox is an Inbox of any client.
type inbox struct {
	store *sqlstore.Store
	db    *sql.DB // beside the inbox's client
	run   func(ctx context.Context, key claim.Key, fp claim.Fingerprint, work func(ctx context.Context, do doing) error) (claim.Verdict, error)
}

// openInbox returns an inbox on a database that has a ledger.
type openInbox func(t testing.TB, d sqltest.Database, o *sqlstore.InboxOptions) *inbox

// onSQL opens an Inbox of database/sql.
func onSQL(dialect sqlstore.Dialect, connections int) openInbox {
	return func(t testing.TB, d sqltest.Database, o *sqlstore.InboxOptions) *inbox {
		db := d.Open(t)
		db.SetMaxOpenConns(connections)
		store := database{dialect: dialect}.storeWith(t, db, nil)
		b, err := sqlstore.NewInbox(store, db, o)
		if err != nil {
			t.Fatal(err)
		}
		return &inbox{store, db, func(ctx context.Context, key claim.Key, fp claim.Fingerprint, work func(context.Context, doing) error) (claim.Verdict, error) {
			return b.Run(ctx, key, fp, func(ctx context.Context, tx *sql.Tx) error {
				return work(ctx, func(query string) error {
					_, err := tx.ExecContext(ctx, query)
					return err
				})
			})
		}}
	}
}

// onPgx opens an Inbox of pgx.
func onPgx(t testing.TB, d sqltest.Database, o *sqlstore.InboxOptions) *inbox {
	pool, err := pgxpool.New(t.Context(), d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pgxstore.Migrate(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	store, err := pgxstore.New(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pgxstore.NewInbox(store, pool, o)
	if err != nil {
		t.Fatal(err)
	}
	return &inbox{store, d.Open(t), func(ctx context.Context, key claim.Key, fp claim.Fingerprint, work func(context.Context, doing) error) (claim.Verdict, error) {
		return b.Run(ctx, key, fp, func(ctx context.Context, tx pgx.Tx) error {
			return work(ctx, func(query string) error {
				_, err := tx.Exec(ctx, query)
				return err
			})
		})
	}}
}

// inboxes are those on which everything is tested.
var inboxes = []struct {
	name  string
	make  func(t testing.TB) sqltest.Database
	start func(t testing.TB) *sqltest.Server // nil: there is no server
	open  openInbox
}{
	{"SQLite", sqltest.SQLite, nil, onSQL(sqlstore.SQLite, 0)},
	{"SQLite memory", sqltest.SQLiteMemory, nil, onSQL(sqlstore.SQLite, 1)},
	{"PostgreSQL", sqltest.Postgres, sqltest.StartPostgres, onSQL(sqlstore.Postgres, 0)},
	{"pgx", sqltest.Postgres, sqltest.StartPostgres, onPgx},
	{"MariaDB", sqltest.MariaDB, sqltest.StartMariaDB, onSQL(sqlstore.MySQL, 0)},
}

func eachInbox(t *testing.T, o *sqlstore.InboxOptions, run func(t *testing.T, b *inbox)) {
	for _, i := range inboxes {
		t.Run(i.name, func(t *testing.T) {
			b := i.open(t, i.make(t), o)
			exec(t, b.db, "CREATE TABLE ledger (message varchar(64) NOT NULL)")
			run(t, b)
		})
	}
}

// enter is a work: one entry in the ledger.
func enter(key claim.Key) func(context.Context, doing) error {
	return func(_ context.Context, do doing) error {
		return do(fmt.Sprintf("INSERT INTO ledger (message) VALUES ('%s')", key.ID()))
	}
}

// entries returns how many entries a message has.
func entries(t testing.TB, db *sql.DB, key claim.Key) (n int) {
	t.Helper()
	if err := db.QueryRow(fmt.Sprintf("SELECT count(*) FROM ledger WHERE message = '%s'", key.ID())).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInboxRunsOnce(t *testing.T) {
	eachInbox(t, &sqlstore.InboxOptions{MaxAttempts: 3}, func(t *testing.T, b *inbox) {
		ctx, key := t.Context(), newKey(t)
		failure := errors.New("failure")
		for range 2 {
			v, err := b.run(ctx, key, claim.Fingerprint{1}, func(ctx context.Context, do doing) error {
				return errors.Join(enter(key)(ctx, do), failure)
			})
			if !errors.Is(err, failure) || v.Outcome != 0 {
				t.Fatalf("work fails: %v, error %v", v.Outcome, err)
			}
		}
		if n := entries(t, b.db, key); n != 0 {
			t.Fatalf("%d entries of work that failed", n)
		}
		for i, want := range []claim.Outcome{claim.Claimed, claim.Done, claim.Done} {
			if v, err := b.run(ctx, key, claim.Fingerprint{1}, enter(key)); err != nil || v.Outcome != want {
				t.Fatalf("run %d: %v, error %v; want %v", i, v.Outcome, err, want)
			}
		}
		if v, err := b.run(ctx, key, claim.Fingerprint{2}, enter(key)); err != nil || v.Outcome != claim.Mismatch {
			t.Fatalf("another fingerprint: %v, error %v; want mismatch", v.Outcome, err)
		}
		if n := entries(t, b.db, key); n != 1 {
			t.Fatalf("%d entries, want 1", n)
		}
		// The Store knows what the Inbox did, and the Inbox what the Store did.
		if v, err := b.store.TryClaim(ctx, key, newRequest()); err != nil || v.Outcome != claim.Done {
			t.Fatalf("the Store: %v, error %v; want done", v.Outcome, err)
		}
		key = newKey(t)
		v := claimed(t, b.store, key, newRequest())
		if w, err := b.run(ctx, key, claim.Fingerprint{}, enter(key)); err != nil || w.Outcome != claim.Pending || w.Remaining <= 0 {
			t.Fatalf("a Store's claim: %v, error %v; want pending", w.Outcome, err)
		}
		if _, err := b.store.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if w, err := b.run(ctx, key, claim.Fingerprint{}, enter(key)); err != nil || w.Outcome != claim.Done {
			t.Fatalf("done by a Store: %v, error %v; want done", w.Outcome, err)
		}
		// Failures count, and the key dies of them.
		key = newKey(t)
		for range 3 {
			if _, err := b.run(ctx, key, claim.Fingerprint{}, func(context.Context, doing) error { return failure }); !errors.Is(err, failure) {
				t.Fatal(err)
			}
		}
		if v, err := b.run(ctx, key, claim.Fingerprint{}, enter(key)); err != nil || v.Outcome != claim.Dead || v.Attempt != 3 {
			t.Fatalf("after 3 failures: %+v, error %v; want dead", v, err)
		}
		if entry, err := b.store.Get(ctx, key); err != nil || entry.State != claim.StateDead {
			t.Fatalf("the record is %v, error %v; want dead", entry.State, err)
		}
	})
}

// Whatever leaves the work takes the transaction with it.
func TestInboxWorkThatPanicsOrLeaves(t *testing.T) {
	eachInbox(t, nil, func(t *testing.T, b *inbox) {
		key := newKey(t)
		for _, leave := range []func(){func() { panic("out") }, runtime.Goexit} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				_, _ = b.run(t.Context(), key, claim.Fingerprint{}, func(ctx context.Context, do doing) error {
					_ = enter(key)(ctx, do)
					leave()
					return nil
				})
			}()
			<-done
		}
		if v, err := b.run(t.Context(), key, claim.Fingerprint{}, enter(key)); err != nil || v.Outcome != claim.Claimed {
			t.Fatalf("%v, error %v; want claimed", v.Outcome, err)
		}
		if n := entries(t, b.db, key); n != 1 {
			t.Fatalf("%d entries, want 1", n)
		}
	})
}

// A second delivery is answered while the first one's work is under way, and does
// not wait for it to end.
func TestInboxConcurrentDelivery(t *testing.T) {
	for _, i := range inboxes {
		if i.name == "SQLite memory" {
			continue // one connection: the second waits for it
		}
		t.Run(i.name, func(t *testing.T) {
			b := i.open(t, i.make(t), &sqlstore.InboxOptions{LockTimeout: 100 * time.Millisecond})
			exec(t, b.db, "CREATE TABLE ledger (message varchar(64) NOT NULL)")
			key := newKey(t)
			v, err := b.run(t.Context(), key, claim.Fingerprint{}, func(ctx context.Context, do doing) error {
				start := time.Now()
				v, err := b.run(ctx, key, claim.Fingerprint{}, enter(key))
				if err != nil || v.Outcome != claim.Pending {
					t.Errorf("the second: %v, error %v; want pending", v.Outcome, err)
				}
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("the second took %v", took)
				}
				return enter(key)(ctx, do)
			})
			if err != nil || v.Outcome != claim.Claimed {
				t.Errorf("the first: %v, error %v; want claimed", v.Outcome, err)
			}
			if v, err := b.run(t.Context(), key, claim.Fingerprint{}, enter(key)); err != nil || v.Outcome != claim.Done {
				t.Errorf("the third: %v, error %v; want done", v.Outcome, err)
			}
			if n := entries(t, b.db, key); n != 1 {
				t.Fatalf("%d entries, want 1", n)
			}
		})
	}
}

// Many copies of many messages, whose works move money between accounts in both
// directions: they deadlock where the database lets them, and run again.
func TestInboxCopiesAndDeadlocks(t *testing.T) {
	for _, i := range inboxes {
		t.Run(i.name, func(t *testing.T) {
			b := i.open(t, i.make(t), &sqlstore.InboxOptions{MaxRetries: 100})
			exec(t, b.db, "CREATE TABLE ledger (message varchar(64) NOT NULL)")
			exec(t, b.db, "CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL)")
			exec(t, b.db, "INSERT INTO account VALUES (0, 1000), (1, 1000)")
			var keys []claim.Key
			for range 12 {
				keys = append(keys, newKey(t))
			}
			var wg sync.WaitGroup
			for worker := range 6 {
				wg.Go(func() {
					for n := range keys {
						n = (n + worker*5) % len(keys)
						deliver(t, b, keys[n], func(ctx context.Context, do doing) error {
							for _, side := range []int{n % 2, 1 - n%2} {
								if err := do(fmt.Sprintf("UPDATE account SET balance = balance + %d WHERE id = %d", 10-20*(side^n%2), side)); err != nil {
									return fmt.Errorf("transfer: %w", err)
								}
							}
							return enter(keys[n])(ctx, do)
						})
					}
				})
			}
			wg.Wait()
			for _, key := range keys {
				if n := entries(t, b.db, key); n != 1 {
					t.Errorf("%d entries of a message, want 1", n)
				}
			}
			var sum, account int
			if err := b.db.QueryRow("SELECT sum(balance), max(balance) FROM account").Scan(&sum, &account); err != nil || sum != 2000 || account != 1000 {
				t.Errorf("the balances are %d together and at most %d, error %v; want 2000 and 1000", sum, account, err)
			}
		})
	}
}

// deliver delivers a message as a bus does, until it is done.
func deliver(t testing.TB, b *inbox, key claim.Key, work func(context.Context, doing) error) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 5*time.Second)
		v, err := b.run(try, key, claim.Fingerprint{}, work)
		end()
		if err == nil && (v.Outcome == claim.Claimed || v.Outcome == claim.Done) {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("not done in a minute: %v, error %v", v.Outcome, err)
			return
		}
		timer := time.NewTimer(2 * time.Millisecond)
		<-timer.C
	}
}

// A COMMIT whose answer is lost is looked up; one that never arrived is run again.
func TestInboxConnectionCutInCommit(t *testing.T) {
	for _, i := range inboxes {
		if i.start == nil {
			continue
		}
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			server := i.start(t)
			d := server.Database(t)
			proxy := netproxy.New(t, server.Addr)
			b := i.open(t, server.At(d, proxy.Addr()), &sqlstore.InboxOptions{CommitTimeout: 5 * time.Second})
			exec(t, b.db, "CREATE TABLE ledger (message varchar(64) NOT NULL)")
			commit := "commit"
			if i.name == "MariaDB" {
				commit = "\x03COMMIT" // and not READ COMMITTED
			}
			for _, point := range []netproxy.Point{netproxy.BeforeRequest, netproxy.WithinRequest, netproxy.BeforeReply, netproxy.WithinReply} {
				key := newKey(t)
				runs := 0
				trap := proxy.CutAt(point, commit)
				v, err := b.run(t.Context(), key, claim.Fingerprint{}, func(ctx context.Context, do doing) error {
					runs++
					return enter(key)(ctx, do)
				})
				trap.Wait(t)
				if err != nil || v.Outcome != claim.Claimed {
					t.Fatalf("point %d: %v, error %v; want claimed", point, v.Outcome, err)
				}
				want := 1
				if point == netproxy.BeforeRequest || point == netproxy.WithinRequest {
					want = 2
				}
				if runs != want {
					t.Errorf("point %d: the work ran %d times, want %d", point, runs, want)
				}
				if n := entries(t, b.db, key); n != 1 {
					t.Errorf("point %d: %d entries, want 1", point, n)
				}
			}
		})
	}
}

// The server is killed and connections break while messages are delivered, more
// than once each, by several workers.
func TestInboxUnderFaults(t *testing.T) {
	for _, i := range inboxes {
		if i.start == nil {
			continue
		}
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			server := i.start(t)
			d := server.Database(t)
			proxy := netproxy.New(t, server.Addr)
			b := i.open(t, server.At(d, proxy.Addr()), &sqlstore.InboxOptions{CommitTimeout: time.Second, LockTimeout: 200 * time.Millisecond})
			exec(t, b.db, "CREATE TABLE ledger (message varchar(64) NOT NULL)")
			var keys []claim.Key
			for range 30 {
				keys = append(keys, newKey(t))
			}
			var wg sync.WaitGroup
			for worker := range 4 {
				wg.Go(func() {
					for n := range keys {
						n = (n + worker*7) % len(keys)
						deliver(t, b, keys[n], enter(keys[n]))
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for round := 0; ; round++ {
				timer := time.NewTimer(60 * time.Millisecond)
				select {
				case <-timer.C:
					if round == 3 || round == 12 {
						server.Restart(t)
					} else {
						proxy.Cut()
					}
					continue
				case <-done:
				}
				break
			}
			direct := d.Open(t)
			for _, key := range keys {
				if n := entries(t, direct, key); n != 1 {
					t.Errorf("%d entries of a message, want 1", n)
				}
			}
		})
	}
}
