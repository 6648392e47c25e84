package sqlstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

// postgresTable writes any number of rows with one statement that is always the
// same, so that the server plans it once: the columns travel as arrays. They
// travel as text, which every driver can send.
type postgresTable struct{ readText, insertText, updateText string }

// postgresTypes are the types of the columns.
var postgresTypes = [len(columns)]string{
	"smallint", "bigint", "bigint", "smallint", "integer", "bigint", "bigint",
	"bytea", "bytea", "bytea", "bytea", "bytea", "bytea", "bytea",
}

// alwaysTrue are compared with the least of all numbers. The planner expects of
// each such comparison that a third of the rows pass, so that it counts on one row
// in all and looks for each in the index. With the hundreds that there are it would
// scan the table for them, as long as it is small when the plan is made, and keep
// that plan for a minute after it has grown.
var alwaysTrue = [...]string{"old_state", "old_fence", "old_expires", "old_attempt", "old_deadline", "fence", "expires"}

func newPostgresTable(name, clock string) *postgresTable {
	arrays, sets, names := []string{"$1::text::bytea[]"}, []string{}, []string{"digest"}
	for i, column := range columns {
		arrays = append(arrays, fmt.Sprintf("$%d::text::%s[]", i+2, postgresTypes[i]))
		sets = append(sets, column+" = n."+column)
		names = append(names, column)
	}
	list := strings.Join(names, ", ")
	insert := fmt.Sprintf("INSERT INTO %s (%s) SELECT * FROM unnest(%s) ON CONFLICT (digest) DO NOTHING RETURNING digest",
		name, list, strings.Join(arrays, ", "))
	where := []string{"c.digest = n.digest"}
	for _, column := range seen {
		arrays = append(arrays, fmt.Sprintf("$%d::text::bigint[]", len(arrays)+1))
		names = append(names, "old_"+column)
		where = append(where, fmt.Sprintf("coalesce(c.%s, 0) = n.old_%s", column, column))
	}
	for _, column := range alwaysTrue {
		where = append(where, fmt.Sprintf("n.%s >= '%d'", column, math.MinInt64))
	}
	return &postgresTable{
		// The array is read once by unnest; ANY would read it for every row of a scan,
		// and a plain join scans tables of up to some 100,000 rows.
		readText: fmt.Sprintf("SELECT t.now, c.digest, c.%s FROM (SELECT %s AS now) t LEFT JOIN "+
			"(unnest($1::text::bytea[]) AS n(wanted) CROSS JOIN LATERAL (SELECT * FROM %s WHERE digest = n.wanted OFFSET 0) c) ON true",
			strings.Join(columns[:], ", c."), clock, name),
		insertText: insert,
		updateText: fmt.Sprintf("UPDATE %s c SET %s FROM unnest(%s) AS n(%s) WHERE %s RETURNING c.digest",
			name, strings.Join(sets, ", "), strings.Join(arrays, ", "), strings.Join(names, ", "), strings.Join(where, " AND ")),
	}
}

func (t *postgresTable) read(digests []claim.Digest) (string, []any) {
	var a array
	for _, d := range digests {
		a.bytes(d[:])
	}
	return t.readText, []any{a.end()}
}

func (t *postgresTable) write(ctx context.Context, conn Conn, changes []*change) error {
	query, update := t.insertText, changes[0].there
	arrays := make([]array, 1+len(columns), 1+len(columns)+len(seen))
	if update {
		query, arrays = t.updateText, arrays[:cap(arrays)]
	}
	for _, c := range changes {
		arrays[0].bytes(c.digest[:])
		for i, cell := range c.next.cells() {
			arrays[1+i].cell(cell)
		}
		if update {
			for i, n := range c.seen() {
				arrays[1+len(columns)+i].cell(number(n))
			}
		}
	}
	args := make([]any, len(arrays))
	for i := range arrays {
		args[i] = arrays[i].end()
	}
	return returning(ctx, conn, changes, query, args...)
}

// returning runs a statement that returns the digests of the rows that it wrote.
func returning(ctx context.Context, conn Conn, changes []*change, query string, args ...any) error {
	var digest []byte
	return conn.Query(ctx, query, args, func(scan func(...any) error) error {
		if err := scan(&digest); err != nil {
			return err
		}
		// They are in the order of their digests.
		at, ok := slices.BinarySearchFunc(changes, digest, func(c *change, d []byte) int { return bytes.Compare(c.digest[:], d) })
		if ok {
			changes[at].applied = true
		}
		return nil
	})
}

// array is PostgreSQL's text of an array.
type array struct{ text []byte }

func (a *array) next() {
	if a.text == nil {
		a.text = append(a.text, '{')
	} else {
		a.text = append(a.text, ',')
	}
}

func (a *array) bytes(b []byte) {
	a.next()
	a.text = append(a.text, `"\\x`...)
	a.text = hex.AppendEncode(a.text, b)
	a.text = append(a.text, '"')
}

func (a *array) cell(c cell) {
	switch c.kind {
	case cellBytes:
		a.bytes(c.bytes)
	case cellNumber:
		a.next()
		a.text = strconv.AppendInt(a.text, c.number, 10)
	default:
		a.next()
		a.text = append(a.text, "NULL"...)
	}
}

func (a *array) end() string { return string(append(a.text, '}')) }
