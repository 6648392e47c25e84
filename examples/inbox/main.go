// Inbox moves money between accounts by messages that come more than once, with
// handlers that fail, handlers that panic in mid-work and processes that are killed
// in it, and shows that every transfer happened once.
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
	"errors"
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
	account
	messages, workers, processes, kills int
	db                                  *sql.DB
	crew                                *crew
	receipts                            sync.Map // by id
}

// account is what a process has to know to move money.
type account struct {
	Dialect     sqlstore.Dialect
	Driver, DSN string
	Prefix      string // of the tables
	Trouble     float64
}

// summary is what came of it.
type summary struct {
	Messages   int   `json:"messages"`
	Deliveries int64 `json:"deliveries"`
	Failed     int64 `json:"failed"`
	Panicked   int64 `json:"panicked"`
	Killed     int64 `json:"killed"`
	// Interrupted are deliveries that a killed process had in hand.
	Interrupted int64 `json:"interrupted"`
	Transfers   int   `json:"transfers"`
	Receipts    int   `json:"receipts"`
	Balance     int   `json:"balance"`
	Expected    int   `json:"expected_balance"`
}

func main() {
	if told := os.Getenv(handEnv); told != "" {
		os.Exit(work(told, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("inbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bank{}
	url := flags.String("postgres", "", "URL of a PostgreSQL to use in place of SQLite")
	asJSON := flags.Bool("json", false, "print one line of JSON")
	flags.IntVar(&b.messages, "messages", 300, "how many transfers are published, half of them twice")
	flags.IntVar(&b.workers, "workers", 8, "how many are worked on at a time")
	flags.IntVar(&b.processes, "processes", 2, "in how many processes the handlers run")
	flags.IntVar(&b.kills, "kills", 5, "how many of them are killed")
	flags.Float64Var(&b.Trouble, "trouble", 0.1, "share of runs that fail, and of those that panic")
	if flags.Parse(args) != nil {
		return 2
	}
	if b.processes < 1 {
		fmt.Fprintln(stderr, "inbox: -processes must be 1 or more")
		return 2
	}
	if err := b.run(ctx, *url); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if *asJSON {
		_ = json.NewEncoder(stdout).Encode(&b.summary)
	} else {
		fmt.Fprintf(stdout, "%d transfers, half of them published twice: %d deliveries, %d failed, %d panicked, %d processes killed with %d in hand\n"+
			"transfers %d, receipts %d, balance %d of %d\n",
			b.Messages, b.Deliveries, b.Failed, b.Panicked, b.Killed, b.Interrupted, b.Transfers, b.Receipts, b.Balance, b.Expected)
	}
	if b.Transfers != b.Messages || b.Receipts != b.Messages || b.Balance != b.Expected {
		return 1
	}
	return 0
}

func (b *bank) run(ctx context.Context, url string) error {
	end, err := b.open(url)
	if err != nil {
		return err
	}
	defer end()
	o := &sqlstore.Options{Prefix: b.Prefix + "once_"}
	if err := sqlstore.Migrate(ctx, b.db, b.Dialect, o); err != nil {
		return err
	}
	store, err := sqlstore.New(ctx, b.db, b.Dialect, o)
	if err != nil {
		return err
	}
	if err := b.openAccounts(ctx); err != nil {
		return err
	}
	told, err := json.Marshal(b.account)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if b.crew, err = hire(b.processes, string(told), fail); err != nil {
		return err
	}
	defer b.crew.dismiss()
	relaying, stop := context.WithCancel(ctx)
	defer stop()
	var relay sync.WaitGroup
	relay.Go(func() {
		_ = store.Relay(relaying, b.receipt, &sqlstore.RelayOptions{Every: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	})
	if err := errors.Join(b.consume(ctx), context.Cause(ctx)); err != nil {
		return err
	}
	err = b.settle(ctx)
	stop()
	relay.Wait()
	return err
}

// handler returns the handler of the messages, as a process runs it.
func (a *account) handler(ctx context.Context, db *sql.DB) (bus.Handler, error) {
	store, err := sqlstore.New(ctx, db, a.Dialect, &sqlstore.Options{Prefix: a.Prefix + "once_"})
	if err != nil {
		return nil, err
	}
	inbox, err := sqlstore.NewInbox(store, db, nil)
	if err != nil {
		return nil, err
	}
	return dedupe.InTransaction(inbox, &dedupe.InboxOptions{
		Consumer: "bank", Backoff: bus.Exponential(time.Millisecond, 20*time.Millisecond), Busy: 5 * time.Millisecond,
	}, a.transfer)
}

// transfer is the handler. It does nothing outside of tx.
func (a *account) transfer(ctx context.Context, tx *sql.Tx, m *bus.Message) error {
	var t struct{ From, To, Amount int }
	if err := json.Unmarshal(m.Data, &t); err != nil {
		return dedupe.Permanent(err)
	}
	for _, q := range []string{
		fmt.Sprintf("UPDATE %saccounts SET balance = balance - %d WHERE id = %d", a.Prefix, t.Amount, t.From),
		fmt.Sprintf("UPDATE %saccounts SET balance = balance + %d WHERE id = %d", a.Prefix, t.Amount, t.To),
		fmt.Sprintf("INSERT INTO %stransfers (amount) VALUES (%d)", a.Prefix, t.Amount),
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	if err := sqlstore.Publish(ctx, sqlstore.Message{Subject: "receipts", Key: fmt.Sprint(t.From), Data: m.Data}); err != nil {
		return err
	}
	return a.strike()
}
