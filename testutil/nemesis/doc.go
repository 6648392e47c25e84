// Package nemesis runs consumers, stores and buses as real processes, does to
// them what production does (kills, stops, cuts, lost replies, full memory,
// stepped clocks) and judges from outside what became of every message.
//
// A [Trial] is one experiment: servers and worker processes of its own, a number
// of orders published to a JetStream stream or a Kafka topic, and a [Plan] that says
// which orders trigger the fault, and at which [Point] of their way through a consumer.
// [Run] carries it out and returns a [Result].
//
// A worker is the program's own binary, started again in a role; a program that
// uses this package calls [Main] first thing in main or TestMain. It runs a
// dedupe.Deduper on a redisstore.Store or a natsstore.Store, or a sqlstore.Inbox in
// PostgreSQL ([Backend]), over a natsbus.Consumer or a kafkabus.Consumer. Its handler
// has its effect on a [Ledger]: a file that processes append to with one write(2) a
// line, so that a kill tears no line. That of an inbox has it in a row of the same
// database. The worker does not choose the moment of a
// fault by a clock: at a point that the plan names it asks the trial, which
// answers what to do, and what is to be done to the worker it does to itself by a
// system call, so that nothing of it runs after the point.
//
// Nothing is left behind: every child is in a process group of its own and is
// killed by the kernel when the thread that started it dies, which lives as long
// as the program.
//
// It needs Linux and redis-server on PATH, for stepped clocks a C compiler, and for
// trials on Kafka and PostgreSQL what packages kafkatest and sqltest need.
package nemesis
