//go:build race

package redisstore_test

// parallel is how many tests run at a time: the race detector takes the machine.
const parallel = "12"
