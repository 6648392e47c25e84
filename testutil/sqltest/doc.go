// Package sqltest runs databases for tests.
//
// [SQLite] is a file in the test's directory, or memory. [Postgres] and [MariaDB]
// are real servers, one of each for a test binary, started when first asked for
// and ended by [Main]; every call returns a database of its own on them.
// [StartPostgres] and [StartMariaDB] are servers that a test has to itself and
// can stop, kill and restart. They run with a data directory, a port and, since
// PostgreSQL refuses root, a user of their own, and without waiting for disks:
// they survive the death of a process, not of the machine. [RunPostgres] and
// [RunMariaDB] are for programs, with settings of their own.
//
// Where ONCE_MYSQLD names a mysqld of MySQL, MariaDB's place is taken by it.
//
// Where the programs are not installed, tests that need them are skipped and say
// what to install; with ONCE_REQUIRE_SERVERS=1 in the environment they fail
// instead, so that a build cannot pass by skipping.
package sqltest
