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
	if err := flag.Set("test.parallel", fmt.Sprint(abreast)); err != nil {
		panic(err)
	}
	sqltest.Main(m.Run)
}

// unit is the shortest lease on the server's own clock.
const unit = 100 * time.Millisecond

// abreast is how many cases run at a time, each of which takes a connection to wait
// and one to work.
const abreast = 24

var prefixes atomic.Int64

// The contract on the server's own clock. Cases that run side by side have tables of
// their own, which the next ones are given empty.
func TestContract(t *testing.T) {
	config, err := pgxpool.ParseConfig(sqltest.Postgres(t).DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 2 * abreast
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	free := make(chan *sqlstore.Options, 10*abreast)
	claimtest.Run(t, func(t testing.TB) *claimtest.Harness {
		var o *sqlstore.Options
		select {
		case o = <-free:
			if _, err := pool.Exec(t.Context(), "DELETE FROM "+o.Prefix+"claims"); err != nil {
				t.Fatal(err)
			}
		default:
			o = &sqlstore.Options{Prefix: fmt.Sprintf("t%d_", prefixes.Add(1))}
			if err := pgxstore.Migrate(t.Context(), pool, o); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { free <- o })
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
