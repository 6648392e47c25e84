package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/oncebus/once/testutil/sqltest"
)

// The test binary is also the processes that are killed.
func TestMain(m *testing.M) {
	if told := os.Getenv(handEnv); told != "" {
		os.Exit(work(told, os.Stdin, os.Stdout, os.Stderr))
	}
	sqltest.Main(m.Run)
}

func TestEveryTransferHappensOnce(t *testing.T) {
	for name, args := range map[string]func(t *testing.T) []string{
		"SQLite":     func(*testing.T) []string { return nil },
		"PostgreSQL": func(t *testing.T) []string { return []string{"-postgres", sqltest.Postgres(t).DSN} },
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(args(t), "-json", "-messages", "100", "-trouble", "0.15", "-kills", "6"), &stdout, &stderr)
			var s summary
			if err := json.Unmarshal(stdout.Bytes(), &s); err != nil || code != 0 {
				t.Fatalf("exit status %d, error %v\n%s%s", code, err, stdout.String(), stderr.String())
			}
			if s.Transfers != 100 || s.Receipts != 100 || s.Balance != accounts*opening {
				t.Errorf("%+v", s)
			}
			if s.Failed == 0 || s.Panicked == 0 || s.Killed != 6 || s.Interrupted == 0 || s.Deliveries < 150 {
				t.Errorf("the run shows nothing: %+v", s)
			}
		})
	}
}
