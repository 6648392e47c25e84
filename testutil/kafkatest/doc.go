// Package kafkatest runs Apache Kafka brokers for tests: each in a process of its
// own, which is its own controller, on free ports and with files of its own.
//
// [Start] returns one that the tests of a binary share, started when it is first
// asked for and ended by [Tests]; tests keep to topics and groups of their own on
// it. [StartOwn] is for a test that kills its broker. A broker is up after some
// three seconds and takes some 300 MB.
//
// The jars are in the directory that ONCE_KAFKA_HOME names, by default once/kafka
// in the user's cache directory; .ci/kafka puts them there, and needs Java and Maven
// for it. Where they are not, tests that need a broker are skipped and say so; with
// ONCE_REQUIRE_SERVERS=1 in the environment they fail instead, so that a build
// cannot pass by skipping.
package kafkatest
