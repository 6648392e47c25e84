// Bench measures Once against the limits of its store and against its peers.
//
//	go run -C bench .
//
// It is a module of its own, so that no peer enters the library's go.mod. It
// starts what it needs: redis-server on free ports, which must be on PATH, and
// NATS in its own process. A full run takes some ten minutes on a machine that
// should do nothing else, and writes docs/performance.md, performance.json and the
// plots. -short takes a minute, writes nowhere and shows that everything runs; its
// figures mean nothing. The command in stores/ measures every store beside Redis.
//
// # What is compared
//
// Absolute figures move with the machine. Every claim is a ratio of two ways of
// handling messages that were measured in turn in the same run, A B A B …; a
// figure is the median of its turns, a ratio the median of the ratios of single
// turns. The unit of all comparison is R, the raw limit: two plain SETs a message
// by a client written by hand, over four connections, a hundred at a time. It is
// measured before and after each part. A part during which it moved by more than
// 15 % is measured again, four times at most, and then left out; a run of which no
// part is left is void, and exits with 1.
//
// # Flags
//
//	-short         seconds instead of minutes
//	-only REGEXP   only the parts whose name, or the name of a line, matches
//	-o DIR         where to write the documents (default ../docs for a full run
//	               of everything, else nowhere)
//	-json          print the report as JSON instead of text
//	-seed N        of the message ids
//	-profile DIR   write profiles of the client, and what the server's commands
//	               cost, for 256 callers
//
// The exit status is 0 also when a line misses what is demanded of it: the report
// says so. It is 1 when the run is void, and 2 when it failed.
package main
