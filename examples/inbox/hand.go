package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/oncebus/once/bus"
)

// handEnv tells the program that it is one of a crew, and of which bank.
const handEnv = "INBOX_HAND"

// work is the program as one of a crew: it carries out the orders that it reads
// until there are no more. It returns the exit status.
func work(told string, stdin io.Reader, stdout, stderr io.Writer) int {
	var a account
	err := json.Unmarshal([]byte(told), &a)
	if err == nil {
		err = a.work(context.Background(), stdin, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "inbox:", err)
		return 1
	}
	return 0
}

func (a *account) work(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	db, err := sql.Open(a.Driver, a.DSN)
	if err != nil {
		return err
	}
	defer db.Close()
	handler, err := a.handler(ctx, db)
	if err != nil {
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	var writing sync.Mutex
	out := json.NewEncoder(stdout)
	for orders := json.NewDecoder(stdin); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		working.Go(func() {
			bus.Guard(func() error { return handler(ctx, &bus.Message{ID: o.ID, Data: o.Data}) }, func(err error) {
				s, panicked := bus.SettlementOf(err), new(bus.PanicError)
				done := outcome{N: o.N, Action: s.Action, Delay: s.Delay, Failed: errors.Is(err, errNetwork), Panicked: errors.As(err, &panicked)}
				if err != nil {
					done.Error = err.Error()
				}
				writing.Lock()
				defer writing.Unlock()
				_ = out.Encode(done) // nobody may be left to hear it
			})
		})
	}
}
