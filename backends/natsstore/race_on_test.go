//go:build race

package natsstore_test

// With the race detector everything takes ten times as long, and so do cases that
// share the machine.
const parallel = "6"
