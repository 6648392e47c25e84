// Stores measures every claim store beside Redis.
//
//	go run -C bench ./stores
//
// It starts what it needs: redis-server, PostgreSQL and MariaDB with data
// directories of their own, NATS in its own process. A store whose server is not
// installed, or that fails, is left out and named. A full run writes docs/stores.md and
// docs/stores.json; -short takes a minute, writes nowhere and shows that everything
// runs.
//
// # What is compared
//
// A message is two operations: a claim and its completion. It is handled by one
// caller, by 64 of them, and by four that send a hundred messages at a time. Every
// sample of a store stands between two samples of Redis under the same load, and
// its figure is a ratio to the mean of those; a turn in which Redis moved by more
// than 20 % from one to the other does not count and is taken again, four times as
// often as turns are asked for at most. Where not half of the turns count the
// figure is left out. Figures are medians of the turns that count.
//
// Bytes are what a new store has grown by when ids were claimed and finished in
// batches, as its server, or its files, tell; nothing is compacted first. Clean-up
// is the rate of a load whose ids end as fast as they come, cleaner included, by
// the rate of the same load whose ids stay. Filter is what the memory of a
// Deduper saves where every message comes twice. Rows are an SQL store's table that
// has so many.
//
// # Flags
//
//	-short         seconds instead of minutes
//	-only REGEXP   only the stores whose name matches
//	-parts LIST    of rate, bytes, clean, filter and rows (default all)
//	-turns N       turns of each comparison (default 5)
//	-ids LIST      how many ids are remembered for bytes (default 1000000)
//	-rows LIST     sizes of an SQL store's table (default 1000000,10000000)
//	-o DIR         where to write (default ../docs for a full run of everything,
//	               else nowhere); figures there that the run has not measured stay
//	-json          print the report as JSON instead of text
package main
