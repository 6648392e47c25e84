// Package sqlstore keeps claims in PostgreSQL, MySQL or MariaDB, or SQLite. It
// takes the program's own *sql.DB; package pgxstore beneath it takes a pool of
// pgx.
//
// The state machine is [claim.Step], applied in Go. An operation reads its row
// with one statement, which tells the database's time as well, and writes it with
// another that does nothing if the row has changed meanwhile; then both are done
// again. So nothing is locked between two statements: a program that stands still
// holds up nobody. Apply, of claim.Batcher, does the same for hundreds of rows at
// a time, and calls of concurrent callers are combined (Options.NoCombining).
//
// [Migrate] makes the tables, or [Migrations] returns the statements for the
// program's own migration tool. docs/sql.md says how to set up the database, what
// its settings mean for claims, and what the tables look like.
//
// [Inbox] runs a handler in a transaction in which its own writes and the record of
// its key commit together, so that the effect happens once; [Publish] writes
// messages to an outbox in that transaction, and [Store.Relay] publishes them.
//
// # Time
//
// The database's clock alone judges leases. A lease is counted from when the row
// was read, which others see only a little later, when the row is committed: it
// is shorter than was asked for by so much, and never longer. SQLite's clock is
// the machine's, in milliseconds.
//
// # Errors
//
// Errors match those of package claim and wrap the driver's.
//
//	what came back                                 answer
//	---------------------------------------------  --------------
//	any error before the row was written: no       ErrUnavailable
//	connection, pool exhausted, context over
//	the row changed, or was locked, at every try,  ErrUnavailable
//	of 30; deadlocks, serialization failures,
//	busy databases
//	the database refused the write                 ErrUnavailable
//	the connection, or the server, was lost, or    ErrUnknown
//	the context ended, while it was written
//	a row that this version cannot read            ErrCorrupt, for that
//	                                               operation alone
//
// No error shows an id, a token or a key.
package sqlstore
