package sqlstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

// literalTable writes values into the text of a statement: numbers in decimal and
// bytes in hexadecimal digits, so that nothing in them is anything else. A MySQL
// client would otherwise prepare each statement, in a trip of its own, and SQLite
// is not asked over a network.
type literalTable struct{ name, clock string }

func (t *literalTable) read(digests []claim.Digest) (string, []any) {
	var b []byte
	b = fmt.Appendf(b, "SELECT t.now, c.digest, c.%s FROM (SELECT %s AS now) t LEFT JOIN %s c ON c.digest IN (",
		strings.Join(columns[:], ", c."), t.clock, t.name)
	for i, d := range digests {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendBytes(b, d[:])
	}
	return string(append(b, ')')), nil
}

// insert returns INSERT with the rows of changes.
func (t *literalTable) insert(changes []*change) []byte {
	b := fmt.Appendf(nil, "INSERT INTO %s (digest, %s) VALUES ", t.name, strings.Join(columns[:], ", "))
	for i, c := range changes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '(')
		b = appendBytes(b, c.digest[:])
		for _, cell := range c.next.cells() {
			b = appendCell(append(b, ','), cell)
		}
		b = append(b, ')')
	}
	return b
}

// updateOne returns UPDATE of one row that has not changed since it was read.
func (t *literalTable) updateOne(c *change) []byte {
	b := fmt.Appendf(nil, "UPDATE %s SET ", t.name)
	for i, cell := range c.next.cells() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, columns[i]...), '=')
		b = appendCell(b, cell)
	}
	b = appendBytes(append(b, " WHERE digest = "...), c.digest[:])
	for i, n := range c.seen() {
		b = fmt.Appendf(b, " AND coalesce(%s, 0) = %d", seen[i], n)
	}
	return b
}

// unchanged are the conditions that row c is as it was read into n.
func unchanged() string {
	b := []byte("c.digest = n.digest")
	for _, column := range seen {
		b = fmt.Appendf(b, " AND coalesce(c.%s, 0) = n.old_%s", column, column)
	}
	return string(b)
}

func appendBytes(b, value []byte) []byte {
	b = append(b, "x'"...)
	b = hex.AppendEncode(b, value)
	return append(b, '\'')
}

func appendCell(b []byte, c cell) []byte {
	switch c.kind {
	case cellNumber:
		return strconv.AppendInt(b, c.number, 10)
	case cellBytes:
		return appendBytes(b, c.bytes)
	}
	return append(b, "NULL"...)
}

type sqliteTable struct{ literalTable }

func (t *sqliteTable) write(ctx context.Context, conn Conn, changes []*change) error {
	if !changes[0].there {
		return returning(ctx, conn, changes, string(append(t.insert(changes), " ON CONFLICT (digest) DO NOTHING RETURNING digest"...)))
	}
	if len(changes) == 1 {
		n, err := conn.Exec(ctx, string(t.updateOne(changes[0])))
		changes[0].applied = n == 1
		return err
	}
	// One statement for all would look for each row of the table among them.
	if _, err := conn.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	wrote, err := t.updateEach(ctx, conn, changes)
	if err == nil {
		_, err = conn.Exec(ctx, "COMMIT")
	}
	if err != nil {
		if _, rollback := conn.Exec(ctx, "ROLLBACK"); rollback != nil {
			return rollback // the connection may still have the transaction
		}
		return err
	}
	for _, c := range wrote {
		c.applied = true
	}
	return nil
}

// updateEach returns the changes whose row was as it had been read.
func (t *sqliteTable) updateEach(ctx context.Context, conn Conn, changes []*change) (wrote []*change, err error) {
	for _, c := range changes {
		n, err := conn.Exec(ctx, string(t.updateOne(c)))
		if err != nil {
			return nil, err
		}
		if n == 1 {
			wrote = append(wrote, c)
		}
	}
	return wrote, nil
}

// mysqlTable has no RETURNING. A statement that did not do all that it was to do
// is taken back, and its rows are written one at a time.
type mysqlTable struct{ literalTable }

// maxUnited is the largest result that is written together with other rows.
// MariaDB makes nothing of literals over 64 KiB in a UNION, without a word.
const maxUnited = 16 << 10

func (t *mysqlTable) write(ctx context.Context, conn Conn, changes []*change) error {
	var small []*change
	for _, c := range changes {
		if len(c.next.result) <= maxUnited {
			small = append(small, c)
		}
	}
	all := false
	if len(small) > 1 {
		var err error
		if all, err = t.writeAll(ctx, conn, small); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if all && len(c.next.result) <= maxUnited {
			c.applied = true
		} else if err := t.writeOne(ctx, conn, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *mysqlTable) writeOne(ctx context.Context, conn Conn, c *change) error {
	if c.there {
		n, err := conn.Exec(ctx, string(t.updateOne(c)))
		c.applied = n == 1
		return err
	}
	n, err := conn.Exec(ctx, string(t.insert([]*change{c})))
	c.applied = n == 1
	if duplicate(err) {
		return nil
	}
	return err
}

// writeAll writes all rows or none.
func (t *mysqlTable) writeAll(ctx context.Context, conn Conn, changes []*change) (all bool, err error) {
	if !changes[0].there {
		_, err := conn.Exec(ctx, string(t.insert(changes)))
		if duplicate(err) {
			return false, nil
		}
		return err == nil, err
	}
	b := fmt.Appendf(nil, "UPDATE %s c JOIN (", t.name)
	for i, c := range changes {
		if i > 0 {
			b = append(b, " UNION ALL "...)
		}
		b = appendBytes(append(b, "SELECT "...), c.digest[:])
		if i == 0 {
			b = append(b, " AS digest"...)
		}
		for j, cell := range c.next.cells() {
			b = appendCell(append(b, ','), cell)
			if i == 0 {
				b = fmt.Appendf(b, " AS %s", columns[j])
			}
		}
		for j, n := range c.seen() {
			b = strconv.AppendInt(append(b, ','), n, 10)
			if i == 0 {
				b = fmt.Appendf(b, " AS old_%s", seen[j])
			}
		}
	}
	b = fmt.Appendf(b, ") n ON %s SET ", unchanged())
	for i, column := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "c.%s = n.%s", column, column)
	}
	if _, err := conn.Exec(ctx, "START TRANSACTION"); err != nil {
		return false, err
	}
	n, err := conn.Exec(ctx, string(b))
	if err == nil && n == int64(len(changes)) {
		_, err := conn.Exec(ctx, "COMMIT")
		return err == nil, err
	}
	if _, rollback := conn.Exec(ctx, "ROLLBACK"); rollback != nil {
		return false, rollback // the connection still has the transaction
	}
	return false, err
}
