// Inbox moves money between accounts by messages that come more than once, with
// handlers that fail and handlers that panic in mid-work, and shows that every
// transfer happened once.
//
//	go run ./examples/inbox                      SQLite, in a temporary file
//	go run ./examples/inbox -postgres postgres://user@host/database
//
// Everything that a transfer does is in one transaction: the balances, the entry
// in the list of transfers, the record of its message, and the receipt that the
// outbox publishes. At the end the sum of the balances, the number of transfers and
// that of receipts are exact; -json prints them as one line.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

const (
	accounts = 10
	opening  = 1000 // of each account
)

// bank is one run of the program.
type bank struct {
	summary
	messages, workers int
	trouble           float64
	db                *sql.DB
	prefix            string
	receipts          sync.Map // by id
}

// summary is what came of it.
type summary struct {
	Messages   int   `json:"messages"`
	Deliveries int64 `json:"deliveries"`
	Failed     int64 `json:"failed"`
	Panicked   int64 `json:"panicked"`
	Transfers  int   `json:"transfers"`
	Receipts   int   `json:"receipts"`
	Balance    int   `json:"balance"`
	Expected   int   `json:"expected_balance"`
}

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("inbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bank{}
	url := flags.String("postgres", "", "URL of a PostgreSQL to use in place of SQLite")
	asJSON := flags.Bool("json", false, "print one line of JSON")
	flags.IntVar(&b.messages, "messages", 300, "how many transfers are published, half of them twice")
	flags.IntVar(&b.workers, "workers", 8, "how many are worked on at a time")
	flags.Float64Var(&b.trouble, "trouble", 0.1, "share of runs that fail, and of those that panic")
	if flags.Parse(args) != nil {
		return 2
	}
	if err := b.run(ctx, *url); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if *asJSON {
		_ = json.NewEncoder(stdout).Encode(&b.summary)
	} else {
		fmt.Fprintf(stdout, "%d transfers, half of them published twice: %d deliveries, %d failed, %d panicked\n"+
			"transfers %d, receipts %d, balance %d of %d\n",
			b.Messages, b.Deliveries, b.Failed, b.Panicked, b.Transfers, b.Receipts, b.Balance, b.Expected)
	}
	if b.Transfers != b.Messages || b.Receipts != b.Messages || b.Balance != b.Expected {
		return 1
	}
	return 0
}

func (b *bank) run(ctx context.Context, url string) error {
	dialect, end, err := b.open(url)
	if err != nil {
		return err
	}
	defer end()
	o := &sqlstore.Options{Prefix: b.prefix + "once_"}
	if err := sqlstore.Migrate(ctx, b.db, dialect, o); err != nil {
		return err
	}
	store, err := sqlstore.New(ctx, b.db, dialect, o)
	if err != nil {
		return err
	}
	inbox, err := sqlstore.NewInbox(store, b.db, nil)
	if err != nil {
		return err
	}
	if err := b.openAccounts(ctx); err != nil {
		return err
	}
	handler, err := dedupe.InTransaction(inbox, &dedupe.InboxOptions{
		Consumer: "bank", Backoff: bus.Exponential(time.Millisecond, 20*time.Millisecond), Busy: 5 * time.Millisecond,
	}, b.transfer)
	if err != nil {
		return err
	}
	relaying, stop := context.WithCancel(ctx)
	defer stop()
	var relay sync.WaitGroup
	relay.Go(func() {
		_ = store.Relay(relaying, b.receipt, &sqlstore.RelayOptions{Every: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	})
	if err := b.consume(ctx, handler); err != nil {
		return err
	}
	err = b.settle(ctx)
	stop()
	relay.Wait()
	return err
}

// transfer is the handler. It does nothing outside of tx.
func (b *bank) transfer(ctx context.Context, tx *sql.Tx, m *bus.Message) error {
	var t struct{ From, To, Amount int }
	if err := json.Unmarshal(m.Data, &t); err != nil {
		return dedupe.Permanent(err)
	}
	for _, q := range []string{
		fmt.Sprintf("UPDATE %saccounts SET balance = balance - %d WHERE id = %d", b.prefix, t.Amount, t.From),
		fmt.Sprintf("UPDATE %saccounts SET balance = balance + %d WHERE id = %d", b.prefix, t.Amount, t.To),
		fmt.Sprintf("INSERT INTO %stransfers (amount) VALUES (%d)", b.prefix, t.Amount),
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	if err := sqlstore.Publish(ctx, sqlstore.Message{Subject: "receipts", Key: fmt.Sprint(t.From), Data: m.Data}); err != nil {
		return err
	}
	return b.strike()
}
