//go:build !race

package redisstore_test

// parallel is how many tests run at a time.
const parallel = "32"
