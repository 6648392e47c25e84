// Package amqptest runs RabbitMQ for tests.
//
// [Start] returns a node that all tests of a binary share: it is started when it is
// first asked for, since that takes some seconds, and ended by [Tests]. [Open] is
// for programs. A node has ports, a data directory, a cookie, a home and an epmd of
// its own, and ends with the process that started it.
//
// Where there is no rabbitmq-server, tests that need one are skipped and say what to
// install; with ONCE_REQUIRE_SERVERS=1 in the environment they fail instead, so that
// a build cannot pass by skipping.
package amqptest
