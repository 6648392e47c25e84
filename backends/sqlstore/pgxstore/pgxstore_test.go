package pgxstore_test

import (
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/backends/sqlstore/pgxstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
	"github.com/oncebus/once/testutil/sqltest"
)

func TestMain(m *testing.M) {
	// Cases wait for the server's clock far more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	sqltest.Main(m.Run)
}

// unit is the shortest lease on the server's own clock.
const unit = 100 * time.Millisecond

var prefixes atomic.Int64

// The contract on the server's own clock, in tables of its own for each case.
func TestContract(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), sqltest.Postgres(t).DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		o := &sqlstore.Options{Prefix: fmt.Sprintf("t%d_", prefixes.Add(1))}
		if err := pgxstore.Migrate(t.Context(), pool, o); err != nil {
			t.Fatal(err)
		}
		store, err := pgxstore.New(t.Context(), pool, o)
		if err != nil {
			t.Fatal(err)
		}
		return &claimtest.Harness{Store: store, Unit: unit, Parallel: true, Advance: func(d time.Duration) {
			if _, err := pool.Exec(t.Context(), "SELECT pg_sleep($1)", d.Seconds()+0.001); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	if _, err := pgxstore.New(t.Context(), nil, nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no pool: error %v, want ErrInvalid", err)
	}
	if err := pgxstore.Migrate(t.Context(), nil, nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no pool: error %v, want ErrInvalid", err)
	}
	if _, err := pgxstore.NewInbox(nil, nil, &sqlstore.InboxOptions{}); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no pool: error %v, want ErrInvalid", err)
	}
}
