// Package memstore is a claim store in the memory of one process.
//
// It is the store for tests, for a single process whose bus redelivers after a
// restart anyway, and the reference for the other stores: its state machine is
// [claim.Step] and nothing else. It forgets everything when the process ends,
// so that a message which was done before a restart runs again after it.
//
// Records are spread over shards by their digest, each with a lock of its own.
// A done record without a result takes about 125 bytes and holds no
// pointer, so that a million of them cost the garbage collector nothing.
//
// With [Options.Positions] it takes a bit for a message that is known by its place.
//
// Memory is bounded by [Options.MaxRecords] and [Options.MaxBytes]. Records end
// by their retention, never by eviction: a store without room refuses new keys
// with [claim.ErrUnavailable] and goes on serving those that it has. There is no
// background goroutine and nothing to close.
package memstore
