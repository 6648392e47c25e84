package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/membus"
)

// open opens the database. Its tables have the names of this run.
func (b *bank) open(url string) (closeDB func(), err error) {
	b.Prefix = fmt.Sprintf("bank_%x_", time.Now().UnixNano())
	if url != "" {
		b.Dialect, b.Driver, b.DSN = sqlstore.Postgres, "pgx", url
		b.db, err = sql.Open(b.Driver, b.DSN)
		return b.dropTables, err
	}
	dir, err := os.MkdirTemp("", "inbox-")
	if err != nil {
		return nil, err
	}
	b.Dialect, b.Driver = sqlstore.SQLite, "sqlite"
	b.DSN = "file:" + filepath.Join(dir, "bank.db") + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	b.db, err = sql.Open(b.Driver, b.DSN)
	return func() { _ = b.db.Close(); _ = os.RemoveAll(dir) }, err
}

// dropTables leaves nothing of the run in a database that stays.
func (b *bank) dropTables() {
	for _, table := range []string{"accounts", "transfers", "once_claims", "once_outbox", "once_outbox_slots", "once_schema"} {
		_, _ = b.db.Exec("DROP TABLE IF EXISTS " + b.Prefix + table)
	}
	_ = b.db.Close()
}

func (b *bank) openAccounts(ctx context.Context) error {
	statements := []string{
		fmt.Sprintf("CREATE TABLE %saccounts (id integer PRIMARY KEY, balance integer NOT NULL)", b.Prefix),
		fmt.Sprintf("CREATE TABLE %stransfers (amount integer NOT NULL)", b.Prefix),
	}
	for id := range accounts {
		statements = append(statements, fmt.Sprintf("INSERT INTO %saccounts VALUES (%d, %d)", b.Prefix, id, opening))
	}
	for _, q := range statements {
		if _, err := b.db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// consume publishes transfers, half of them twice, and delivers them until each is
// settled. Now and then it kills a process, with what that has in hand.
func (b *bank) consume(ctx context.Context) error {
	hub, err := membus.New(nil)
	if err != nil {
		return err
	}
	b.Messages = b.messages
	published, acked := int64(0), int64(0)
	for n := range b.messages {
		m := bus.Message{
			ID:   fmt.Sprintf("transfer-%d", n),
			Data: fmt.Appendf(nil, `{"From":%d,"To":%d,"Amount":%d}`, rand.IntN(accounts), rand.IntN(accounts), 1+rand.IntN(50)),
		}
		for range 1 + n%2 {
			if err := hub.Publish(ctx, m); err != nil {
				return err
			}
			published++
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The first message after each of these counts of deliveries costs a process.
	every := int64(b.messages/(b.kills+1) + 1)
	err = hub.Consume(ctx, func(ctx context.Context, m *bus.Message) error {
		if n := atomic.AddInt64(&b.Deliveries, 1); n%every == 0 && n/every <= int64(b.kills) {
			if err := b.crew.kill(); err != nil {
				return err
			}
		}
		err := b.crew.handle(ctx, m)
		if err == nil && atomic.AddInt64(&acked, 1) == published {
			stop()
		}
		return err
	}, &membus.ConsumeOptions{Workers: b.workers})
	b.Failed, b.Panicked = b.crew.failed.Load(), b.crew.panicked.Load()
	b.Killed, b.Interrupted = b.crew.killed.Load(), b.crew.interrupted.Load()
	return err
}

var errNetwork = errors.New("the network is down")

// strike makes some runs fail, and some panic.
func (a *account) strike() error {
	switch p := rand.Float64(); {
	case p < a.Trouble:
		return errNetwork
	case p < 2*a.Trouble:
		panic("out of memory")
	}
	return nil
}

// receipt is where the relay publishes. A copy of a receipt is the same receipt.
func (b *bank) receipt(_ context.Context, m sqlstore.Message) error {
	if rand.Float64() < b.Trouble {
		return errors.New("the bus is down")
	}
	b.receipts.Store(m.ID, true)
	return nil
}

// settle waits until the outbox is empty, and counts.
func (b *bank) settle(ctx context.Context) error {
	count := func(n *int, query string) error {
		return b.db.QueryRowContext(ctx, fmt.Sprintf(query, b.Prefix)).Scan(n)
	}
	for left := 1; left > 0; {
		if err := count(&left, "SELECT count(*) FROM %sonce_outbox"); err != nil {
			return err
		}
		timer := time.NewTimer(5 * time.Millisecond)
		<-timer.C
	}
	b.receipts.Range(func(any, any) bool { b.Receipts++; return true })
	b.Expected = accounts * opening
	return errors.Join(count(&b.Transfers, "SELECT count(*) FROM %stransfers"), count(&b.Balance, "SELECT sum(balance) FROM %saccounts"))
}
