package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

var (
	errRow       = claim.Corrupt("the row is no record of this version")
	errContended = errors.New("sqlstore: the row changed, or was locked, at every try")
)

// What a database says of a statement, by the code of its error. Drivers are not
// imported: those of PostgreSQL tell an SQLSTATE, that of SQLite a result code,
// and that of MySQL writes its number into the text.
type errorCode struct {
	sqlState string
	mysql    int
	sqlite   int
}

// codeOf returns the code of an error that came from the database, and false for
// every other error, such as that of a lost connection.
func codeOf(err error) (errorCode, bool) {
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() != "" {
		return errorCode{sqlState: state.SQLState()}, true
	}
	var lite interface{ Code() int }
	if errors.As(err, &lite) && lite.Code() != 0 {
		return errorCode{sqlite: lite.Code() & 0xff}, true
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if n := mysqlNumber(e.Error()); n != 0 {
			return errorCode{mysql: n}, true
		}
	}
	return errorCode{}, false
}

// mysqlNumber reads "Error 1213 (40001): …".
func mysqlNumber(text string) int {
	rest, ok := strings.CutPrefix(text, "Error ")
	if !ok {
		return 0
	}
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	n, err := strconv.Atoi(rest[:digits])
	if err != nil || !strings.HasPrefix(rest[digits:], ":") && !strings.HasPrefix(rest[digits:], " (") {
		return 0
	}
	return n
}

// duplicate reports whether a row with the same key was there.
func duplicate(err error) bool {
	code, _ := codeOf(err)
	return code.mysql == 1062 || code.sqlState == "23505"
}

// transient reports whether the database undid the statement, or the whole
// transaction, because of others that ran at the same time, so that it may be
// tried again at once.
func transient(err error) bool {
	code, ok := codeOf(err)
	if !ok {
		return false
	}
	switch code.sqlState {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		return true
	}
	switch code.mysql {
	case 1213, 1205, 1020, 3572: // deadlock, lock wait timeout, row changed, NOWAIT
		return true
	}
	return code.sqlite == 5 || code.sqlite == 6 // busy, locked
}

// lockTimeout reports whether the statement waited too long for a lock, rather
// than failed for a deadlock.
func lockTimeout(err error) bool {
	code, _ := codeOf(err)
	return code.sqlState == "55P03" || code.mysql == 1205 || code.mysql == 3572 || code.sqlite == 5 || code.sqlite == 6
}

// refused reports whether the database says that nothing was written. A server
// that is stopped may have committed before it said so.
func refused(err error) bool {
	code, ok := codeOf(err)
	switch {
	case !ok:
		return false
	case code.sqlState != "":
		return code.sqlState != "40003" && !strings.HasPrefix(code.sqlState, "08") && !strings.HasPrefix(code.sqlState, "57P")
	case code.mysql != 0:
		return code.mysql != 1053 && code.mysql != 1317 && code.mysql != 1927 // shutdown, interrupted, killed
	}
	return code.sqlite != 10 // I/O error
}

// failure says what is known of a write that ended with err.
func failure(ctx context.Context, err error) error {
	if refused(err) {
		return unavailable(ctx, err)
	}
	return claim.Unknown(plain(ctx, err))
}

// unavailable is for what certainly did not happen.
func unavailable(ctx context.Context, err error) error { return claim.Unavailable(plain(ctx, err)) }

// plain returns err with a text that is fit for a log, and as the end of ctx when
// that is why it came. Databases quote statements and rows in some errors, and
// tokens, ids and results are among them.
func plain(ctx context.Context, err error) error {
	if over := ctx.Err(); over != nil && !errors.Is(err, over) {
		err = fmt.Errorf("%w: %w", over, err)
	}
	return &plainError{err}
}

type plainError struct{ cause error }

func (e *plainError) Error() string {
	text := e.cause.Error()
	for _, quote := range []string{" near ", "uplicate entry", "\n", "x'"} {
		text, _, _ = strings.Cut(text, quote)
	}
	const longest = 200
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

func (e *plainError) Unwrap() error { return e.cause }
