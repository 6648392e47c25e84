package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/claimtest"
)

func BenchmarkContract(b *testing.B) {
	for _, d := range databases {
		b.Run(d.name, func(b *testing.B) {
			claimtest.Benchmark(b, func(t testing.TB) *claimtest.Harness {
				return &claimtest.Harness{Store: d.store(t, d.open(t)), Unit: time.Minute}
			})
		})
	}
}

// BenchmarkCallers measures messages, one claim and one completion each, by 64
// callers, one at a time and in batches of 100.
func BenchmarkCallers(b *testing.B) {
	for _, d := range databases {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/batch=%d", d.name, batch), func(b *testing.B) {
				db := d.open(b)
				if !d.single {
					db.SetMaxOpenConns(64)
					db.SetMaxIdleConns(64)
				}
				store := d.store(b, db)
				callers := 64
				if batch > 1 {
					callers = 4
				}
				b.ResetTimer()
				left := int64(b.N)
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for atomic.AddInt64(&left, -int64(batch)) > -int64(batch) {
							if err := handle(b, store, batch); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// handle claims n messages and finishes them.
func handle(t testing.TB, store *sqlstore.Store, n int) error {
	ops := make([]*claim.Op, n)
	for i := range ops {
		ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
	}
	store.Apply(context.Background(), ops)
	for _, op := range ops {
		if op.Err != nil || op.Verdict.Outcome != claim.Claimed {
			return fmt.Errorf("%v: %w", op.Verdict.Outcome, op.Err)
		}
		*op = claim.Op{Kind: claim.OpMarkDone, Key: op.Key, Grant: op.Verdict.Grant, Completion: claim.Completion{Retention: time.Hour}}
	}
	store.Apply(context.Background(), ops)
	for _, op := range ops {
		if op.Err != nil {
			return op.Err
		}
	}
	return nil
}

// BenchmarkBytes measures what a remembered id takes on disk, indexes included, as
// claims and completions leave it. Run it with -benchtime 1000000x.
func BenchmarkBytes(b *testing.B) {
	for _, d := range databases {
		if d.single {
			continue
		}
		b.Run(d.name, func(b *testing.B) {
			db := d.open(b)
			store := d.storeWith(b, db, &sqlstore.Options{MaxBatch: 1000})
			for n := b.N; n > 0; n -= 1000 {
				if err := handle(b, store, min(n, 1000)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size(b, db, d.dialect))/float64(b.N), "bytes/id")
		})
	}
}

// size returns how large the table of claims is.
func size(b *testing.B, db *sql.DB, d sqlstore.Dialect) (n int64) {
	query := map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SELECT pg_total_relation_size('once_claims')",
		sqlstore.MySQL:    "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = database() AND table_name = 'once_claims'",
		sqlstore.SQLite:   "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
	}[d]
	if d == sqlstore.MySQL {
		exec(b, db, "ANALYZE TABLE once_claims")
	}
	if err := db.QueryRow(query).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}
