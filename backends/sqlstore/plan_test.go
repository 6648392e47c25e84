package sqlstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/testutil/sqltest"
)

// A plan is kept while the table grows, so that the one made for an empty table
// has to go by the index, whether the planner knows how many rows it gets or not.
func TestBatchesGoByTheIndex(t *testing.T) {
	db := sqltest.Postgres(t).Open(t)
	db.SetMaxOpenConns(1)
	d := database{dialect: sqlstore.Postgres}
	query, count := sqlstore.UpdateText(d.storeWith(t, db, &sqlstore.Options{MaxBatch: 1000}))
	args := make([]string, count)
	for i := range args {
		values := make([]string, 1000)
		for row := range values {
			values[row] = fmt.Sprint(row % 100)
		}
		args[i] = "'{" + strings.Join(values, ",") + "}'"
	}
	exec(t, db, "PREPARE batch AS "+query)
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		exec(t, db, "SET plan_cache_mode = "+mode)
		var plan strings.Builder
		rows, err := db.Query("EXPLAIN EXECUTE batch (" + strings.Join(args, ", ") + ")")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, line)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan.String(), "Index Scan using once_claims_pkey") {
			t.Errorf("%s:\n%s", mode, &plan)
		}
	}
}
