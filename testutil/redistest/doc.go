// Package redistest runs Redis for tests: in process, as a server process, as a
// cluster, as a primary with a replica, and with sentinels that promote it.
//
// [Mini] is in process, with a clock that the test moves. [Start] and [StartOwn]
// are real servers, in a process of their own, on a port and in a directory that
// nobody else has, started in some ten milliseconds and gone with the test; they
// can be stopped, killed and restarted. Start uses the server that REDIS_URL
// names instead, where it is set. Where there is no redis-server on PATH, tests
// that need one are skipped and say what to install; with ONCE_REQUIRE_SERVERS=1
// in the environment they fail instead, so that a build cannot pass by skipping.
package redistest
