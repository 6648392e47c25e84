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
func (b *bank) open(url string) (dialect sqlstore.Dialect, closeDB func(), err error) {
	b.prefix = fmt.Sprintf("bank_%x_", time.Now().UnixNano())
	if url != "" {
		b.db, err = sql.Open("pgx", url)
		return sqlstore.Postgres, b.dropTables, err
	}
	dir, err := os.MkdirTemp("", "inbox-")
	if err != nil {
		return 0, nil, err
	}
	path := filepath.Join(dir, "bank.db")
	b.db, err = sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	return sqlstore.SQLite, func() { _ = b.db.Close(); _ = os.RemoveAll(dir) }, err
}

// dropTables leaves nothing of the run in a database that stays.
func (b *bank) dropTables() {
	for _, table := range []string{"accounts", "transfers", "once_claims", "once_outbox", "once_outbox_slots", "once_schema"} {
		_, _ = b.db.Exec("DROP TABLE IF EXISTS " + b.prefix + table)
	}
	_ = b.db.Close()
}

func (b *bank) openAccounts(ctx context.Context) error {
	statements := []string{
		fmt.Sprintf("CREATE TABLE %saccounts (id integer PRIMARY KEY, balance integer NOT NULL)", b.prefix),
		fmt.Sprintf("CREATE TABLE %stransfers (amount integer NOT NULL)", b.prefix),
	}
	for id := range accounts {
		statements = append(statements, fmt.Sprintf("INSERT INTO %saccounts VALUES (%d, %d)", b.prefix, id, opening))
	}
	for _, q := range statements {
		if _, err := b.db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// consume publishes transfers, half of them twice, and delivers them until each is
// settled.
func (b *bank) consume(ctx context.Context, handler bus.Handler) error {
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
	return hub.Consume(ctx, func(ctx context.Context, m *bus.Message) (err error) {
		atomic.AddInt64(&b.Deliveries, 1)
		bus.Guard(func() error { return handler(ctx, m) }, func(e error) { err = e })
		if err == nil && atomic.AddInt64(&acked, 1) == published {
			stop()
		}
		return err
	}, &membus.ConsumeOptions{Workers: b.workers})
}

// strike makes some runs fail, and some panic.
func (b *bank) strike() error {
	switch p := rand.Float64(); {
	case p < b.trouble:
		atomic.AddInt64(&b.Failed, 1)
		return errors.New("the network is down")
	case p < 2*b.trouble:
		atomic.AddInt64(&b.Panicked, 1)
		panic("out of memory")
	}
	return nil
}

// receipt is where the relay publishes. A copy of a receipt is the same receipt.
func (b *bank) receipt(_ context.Context, m sqlstore.Message) error {
	if rand.Float64() < b.trouble {
		return errors.New("the bus is down")
	}
	b.receipts.Store(m.ID, true)
	return nil
}

// settle waits until the outbox is empty, and counts.
func (b *bank) settle(ctx context.Context) error {
	count := func(n *int, query string) error {
		return b.db.QueryRowContext(ctx, fmt.Sprintf(query, b.prefix)).Scan(n)
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
